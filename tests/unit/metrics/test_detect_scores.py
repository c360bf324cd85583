"""Detection metrics against the COCO reference evaluation, and the vectors of the definitions."""

from __future__ import annotations

import json

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster

from medzoo.boxes import box_iou
from medzoo.errors import UserError
from medzoo.metrics import Boxes, DetectScores, Rule, paired_differences, restore_records
from medzoo.metrics.average_precision import precision_recall
from medzoo.metrics.froc import Froc
from medzoo.metrics.match import match, match_coco

CELLS = ("RBC", "WBC", "Platelets")
NONE = np.empty(0)


def scene(rng, *, most=12, size=200.0, classes=3, dims=2):
    """Random objects, and detections that are jittered copies of some, duplicates and false positives."""
    n = int(rng.integers(0, most))
    low = rng.uniform(0, size, (n, dims))
    truth = np.hstack([low, low + rng.uniform(4, 120, (n, dims))])
    labels = rng.integers(classes, size=n)
    picks = rng.integers(n, size=2 * n) if n else np.empty(0, int)
    found = truth[picks] + rng.normal(0, 4, (len(picks), 2 * dims))
    stray = rng.uniform(0, size, (5, dims))
    found = np.vstack([found, np.hstack([stray, stray + rng.uniform(4, 60, (5, dims))])])
    found[:, dims:] = np.maximum(found[:, dims:], found[:, :dims] + 1)
    guess = np.append(labels[picks], rng.integers(classes, size=5))
    flip = rng.random(len(guess)) < 0.1
    guess[flip] = rng.integers(classes, size=int(flip.sum()))
    return Boxes(truth, labels, NONE), Boxes(found, guess, rng.random(len(guess)))


def coco_stats(scenes, classes=3):
    def xywh(box):
        return [*map(float, box[:2]), *map(float, box[2:] - box[:2])]

    annotations, results = [], []
    for i, (truth, found) in enumerate(scenes):
        for box, label in zip(truth.boxes, truth.labels, strict=True):
            b = xywh(box)
            annotations.append(
                {"id": len(annotations) + 1, "image_id": i + 1, "category_id": int(label) + 1, "bbox": b,
                 "area": b[2] * b[3], "iscrowd": 0}
            )  # fmt: skip
        for box, label, score in zip(found.boxes, found.labels, found.scores, strict=True):
            results.append({"image_id": i + 1, "category_id": int(label) + 1, "bbox": xywh(box), "score": float(score)})
    gt = COCO({
        "images": [{"id": i + 1, "width": 400, "height": 400} for i in range(len(scenes))],
        "categories": [{"id": k + 1, "name": str(k)} for k in range(classes)],
        "annotations": annotations,
    })  # fmt: skip
    evaluation = COCOeval_faster(gt, gt.loadRes(results), "bbox")
    evaluation.run()
    precision = np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]
    per_class = [precision[0, :, k] for k in range(classes)]
    return evaluation.stats, [p[p > -1].mean() if (p > -1).any() else None for p in per_class]


def filled(scenes, names=None, **options):
    scores = DetectScores(CELLS, names, **options)
    for i, (truth, found) in enumerate(scenes):
        scores.add(truth, found, item=str(i))
    return scores


def named(figures):
    return {figure.name: figure for figure in figures}


def value(scores, name):
    (measure,) = [m for m in scores.measures() if m.name == name]
    return float(measure.statistic(np.ones((1, len(scores.items))))[0])


def test_iou_of_the_definition_and_of_volumes():
    assert box_iou(np.array([[0, 0, 10, 10.0]]), np.array([[5, 0, 15, 10.0]]))[0, 0] == pytest.approx(1 / 3)
    a, b = np.array([[0, 0, 0, 2, 2, 2.0]]), np.array([[1, 0, 0, 3, 2, 2.0], [2, 2, 2, 3, 3, 3]])
    assert box_iou(a, b).tolist() == [[pytest.approx(1 / 3), 0]]
    assert box_iou(np.zeros((1, 4)), np.zeros((1, 4)))[0, 0] == 0


@pytest.mark.parametrize("seed", range(6))
def test_average_precision_equals_the_coco_reference(seed):
    rng = np.random.default_rng(seed)
    scenes = [scene(rng) for _ in range(25)]
    stats, per_class = coco_stats(scenes)
    scores = filled(scenes)
    for name, wanted in zip(("ap", "ap50", "ap75", "ap-small", "ap-medium", "ap-large"), stats, strict=False):
        assert value(scores, name) == pytest.approx(wanted, abs=1e-6), name
    for label, wanted in zip(CELLS, per_class, strict=True):
        assert value(scores, f"ap50/{label}") == pytest.approx(wanted, abs=1e-6)


def test_ties_of_overlap_and_crowds_of_detections_follow_the_reference():
    rng = np.random.default_rng(9)
    box = np.array([[10, 10, 50, 50.0]])
    doubles = Boxes(np.repeat(box, 3, 0), np.array([0, 0, 1]), NONE)
    many = rng.uniform(0, 60, (150, 2))
    crowd = Boxes(np.vstack([np.repeat(box, 4, 0), np.hstack([many, many + 30])]), np.zeros(154, int), rng.random(154))
    scenes = [(doubles, crowd), *(scene(rng) for _ in range(5))]
    stats, _ = coco_stats(scenes)
    assert value(filled(scenes), "ap") == pytest.approx(stats[0], abs=1e-6)


def test_weighted_precision_is_that_of_the_repeated_images():
    rng = np.random.default_rng(11)
    scenes = [scene(rng) for _ in range(10)]
    times = rng.integers(0, 3, 10)
    repeated = [scenes[i] for i in np.repeat(np.arange(10), times)]
    scores, again = filled(scenes), filled(repeated)
    for measure in scores.measures():
        weighted = measure.statistic(times[None].astype(float))[0]
        if np.isnan(weighted):
            assert measure.name not in {m.name for m in again.measures()}
        else:
            assert weighted == pytest.approx(value(again, measure.name), abs=1e-9), measure.name


def test_an_object_outside_the_size_range_is_taken_only_if_no_other_fits():
    truth = np.array([[0, 0, 10, 10], [0, 0, 11, 10.0]])
    found = np.array([[0, 0, 11, 10], [0, 0, 11, 10], [50, 50, 90, 90.0]])
    hit, ignored = match_coco(truth, found, thresholds=np.array([0.5]), ranges=np.array([[0, 100.0]]))
    assert hit[0, 0].tolist() == [True, False, False]
    assert ignored[0, 0].tolist() == [False, True, True]


def test_matching_rules_by_name():
    truth = np.array([[0, 0, 10, 10.0]])
    found = np.array([[4, 4, 5, 5], [3, 3, 8, 8], [9, 9, 30, 30], [0, 0, 10, 9.0]])
    assert match(truth, found, rule=Rule("centre")).tolist() == [1, -1, 0, -1]
    assert match(truth, found, rule=Rule("iou", 0.5)).tolist() == [0, 0, 0, 1]
    assert match(truth, found[[3, 3]], rule=Rule("iou", 0.5)).tolist() == [1, 0]
    assert match(truth, found, rule=Rule("iou", 0.2)).tolist() == [0, 1, 0, 0]
    assert match(np.empty((0, 4)), found, rule=Rule()).tolist() == [0, 0, 0, 0]


def test_each_detection_takes_the_free_object_that_fits_best():
    truth = np.array([[0, 0, 10, 10], [2, 0, 12, 10.0]])
    found = np.array([[2, 0, 12, 10], [1, 0, 11, 10], [1, 0, 11, 10.0]])
    assert match(truth, found, rule=Rule("iou", 0.5)).tolist() == [1, 1, 0]


def definition():
    """Two scans, four lesions; hits 1,0,1,0,1,0,0,1 at .9 ... .2."""
    scores = np.arange(9, 1, -1) / 10
    status = np.array([1, 0, 1, 0, 1, 0, 0, 1])
    return Froc(scores, status, np.array([0, 1, 0, 1, 1, 0, 1, 1]), np.array([2, 2]))


def test_froc_and_cpm_of_the_definition():
    ones = np.ones((1, 2))
    assert definition().sensitivities(ones)[0].tolist() == [0.25, 0.25, 0.5, 0.75, 1, 1, 1]
    assert definition().cpm(ones)[0] == pytest.approx(0.678571, abs=1e-6)


def test_froc_of_the_definition_through_boxes():
    """The same through real boxes and both matching rules."""
    at = {i: np.array([20.0 * i, 0, 20 * i + 10, 10]) for i in range(12)}
    truth = [Boxes(np.array([at[0], at[1]]), np.zeros(2, int), NONE) for _ in range(2)]
    hits, scores = [1, 0, 1, 0, 1, 0, 0, 1], np.arange(9, 1, -1) / 10
    scans, free = [0, 1, 0, 1, 1, 0, 1, 1], [[0, 1], [0, 1]]
    found = [([], []), ([], [])]
    for i, (hit, score, scan) in enumerate(zip(hits, scores, scans, strict=True)):
        found[scan][0].append(at[free[scan].pop()] if hit else at[3 + i])
        found[scan][1].append(score)
    for rule in (Rule("iou", 0.5), Rule("centre")):
        detections = DetectScores(("lesion",), ["froc", "cpm"], rule=rule)
        for scan in (0, 1):
            boxes, points = found[scan]
            answer = Boxes(np.array(boxes), np.zeros(len(boxes), int), np.array(points))
            detections.add(truth[scan], answer, item=f"scan{scan}")
        got = named(detections.metrics())
        assert got["cpm"].value == pytest.approx(0.678571, abs=1e-6)
        assert got["froc/0.5"].value == 0.5
        assert str(rule) in got["cpm"].protocol


def test_equal_scores_are_shown_together():
    froc = Froc(np.array([0.5, 0.5, 0.5]), np.array([1, 0, 0]), np.zeros(3, int), np.array([1]))
    assert froc.sensitivities(np.ones((1, 1)), rates=(1.0, 2.0))[0].tolist() == [0, 1]


def test_threshold_for_a_wanted_rate_keeps_the_rate():
    froc = definition()
    chosen = froc.threshold_at(1.0)
    assert (chosen.threshold, chosen.sensitivity, chosen.false_positives) == (0.5, 0.75, 1.0)
    stray = Froc(np.array([0.9], np.float32), np.array([0]), np.array([0]), np.array([1]))
    none = stray.threshold_at(0.5)
    assert np.float32(none.threshold) > np.float32(0.9)
    assert (none.sensitivity, none.false_positives) == (0, 0)
    assert Froc(NONE, NONE, np.empty(0, int), np.array([1])).threshold_at(1.0).threshold == 0.0


def test_the_threshold_of_the_best_f1():
    # After .9 .8 .7 .6: 3 hits, 1 false of 4 objects: F1 6/8; after .5 and .4: 6/10 and less.
    status = np.array([1, 1, 0, 1, 0, 0])
    froc = Froc(np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4]), status, np.array([0, 1, 0, 1, 0, 1]), np.array([2, 2]))
    chosen = froc.best_f1()
    assert (chosen.threshold, chosen.sensitivity, chosen.false_positives) == (0.6, 0.75, 0.5)
    assert chosen.protocol == "best F1 (0.750) on 2 validation images"
    # A second detection that counts neither way leaves F1 as it was: the higher threshold is taken.
    assert Froc(np.array([0.9, 0.8]), np.array([1, -1]), np.zeros(2, int), np.array([1])).best_f1().threshold == 0.9
    stray = Froc(np.array([0.9, 0.2]), np.zeros(2, int), np.zeros(2, int), np.array([1])).best_f1()
    assert stray.threshold > 0.9, "where nothing is hit, nothing is shown"


def test_the_operating_threshold_is_scored():
    scenes = [scene(np.random.default_rng(3)) for _ in range(8)]
    scores = filled(scenes, ["sensitivity", "false-positives", "froc"], threshold=0.5)
    shown = [
        (truth, Boxes(found.boxes[found.scores >= 0.5], found.labels[found.scores >= 0.5],
                      found.scores[found.scores >= 0.5]))
        for truth, found in scenes
    ]  # fmt: skip
    everything = filled(shown, ["sensitivity", "false-positives"])
    for name in ("sensitivity", "false-positives"):
        assert value(scores, name) == pytest.approx(value(everything, name))
    assert 0 < value(scores, "sensitivity") < 1


def test_intervals_are_over_patients():
    rng = np.random.default_rng(12)
    scenes = [scene(rng) for _ in range(12)]
    single = filled(scenes, ["ap50", "cpm"], replicates=200)
    copied = DetectScores(CELLS, ["ap50", "cpm"], replicates=200)
    for i, (truth, found) in enumerate(scenes):
        for copy in range(3):
            copied.add(truth, found, item=f"{i}-{copy}", group=str(100 + i))
    for name, figure in named(copied.metrics()).items():
        assert (figure.n, figure.groups) == (36, 12)
        assert figure.low <= figure.value <= figure.high
        assert figure.high - figure.low > 0, name
    assert named(copied.metrics())["cpm"].value == pytest.approx(named(single.metrics())["cpm"].value)


def test_volumes_are_sized_in_millimetres():
    rng = np.random.default_rng(13)
    truth = np.array([[0, 0, 0, 8, 8, 8], [20, 20, 20, 35, 35, 35.0]])
    answer = Boxes(truth[1:], np.zeros(1, int), rng.random(1))
    got = {}
    for spacing in ((1, 1, 1), (2, 2, 2)):
        scores = DetectScores(("lesion",), ["ap", "ap-small", "ap-medium", "ap-large"])
        scores.add(Boxes(truth, np.zeros(2, int), NONE), answer, item="a", spacing=spacing)
        got[spacing[0]] = {f.name: f.value for f in scores.metrics()}
    assert got[1] == {"ap": pytest.approx(51 / 101), "ap-small": 0, "ap-medium": 1, "ap-large": None}
    assert got[2] == {"ap": pytest.approx(51 / 101), "ap-small": None, "ap-medium": 0, "ap-large": 1}


def test_images_without_objects_or_detections_count():
    scores = DetectScores(("lesion",))
    nothing = Boxes(np.empty((0, 4)), np.empty(0, int), NONE)
    one = Boxes(np.array([[0, 0, 10, 10.0]]), np.zeros(1, int), np.array([0.9]))
    scores.add(nothing, nothing, item="healthy")
    assert {f.value for f in scores.metrics() if f.name != "false-positives"} == {None}
    scores.add(one, one, item="lesion")
    scores.add(nothing, Boxes(one.boxes, one.labels, np.array([0.95])), item="false alarm")
    got = named(scores.metrics())
    assert got["ap50"].value == pytest.approx(0.5)
    assert got["false-positives"].value == pytest.approx(1 / 3)
    assert got["froc/0.125"].value == 0
    assert got["froc/0.5"].value == 1


def test_precision_recall_of_a_known_ranking():
    truth = Boxes(np.array([[0, 0, 10, 10], [20, 0, 30, 10.0]]), np.zeros(2, int), NONE)
    boxes = np.array([[0, 0, 10, 10], [50, 0, 60, 10], [20, 0, 30, 10.0]])
    scores = DetectScores(("lesion",))
    scores.add(truth, Boxes(boxes, np.zeros(3, int), np.array([0.9, 0.8, 0.7])), item="a")
    precision, recall = precision_recall(scores.ranked(0))
    assert precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3])
    assert recall.tolist() == [0.5, 0.5, 1]
    assert value(scores, "ap50") == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_detect_records_restore_the_same_metrics_and_pair():
    rng = np.random.default_rng(14)
    scenes = [scene(rng) for _ in range(10)]
    first = filled(scenes, ["ap50", "cpm"], replicates=300)
    again = restore_records(
        DetectScores(CELLS, ["ap50", "cpm"], replicates=300), json.loads(json.dumps(first.records()))
    )
    assert again.metrics() == first.metrics()
    blind = filled([(t, Boxes(np.empty((0, 4)), np.empty(0, int), NONE)) for t, _ in scenes], ["ap50"], replicates=300)
    difference = named(paired_differences(first, blind))["ap50"]
    assert difference.value == pytest.approx(named(first.metrics())["ap50"].value)
    assert difference.low > 0


def test_pictures_and_volumes_do_not_mix():
    scores = DetectScores(("lesion",))
    scores.add(*scene(np.random.default_rng(1), classes=1), item="a")
    with pytest.raises(UserError, match="b: has boxes of 3 axes, earlier items boxes of 2"):
        scores.add(*scene(np.random.default_rng(1), classes=1, dims=3), item="b")


def test_both_hit_rules_stand_side_by_side_by_name():
    scores = DetectScores(["a"], ["cpm", "cpm-centre", "froc-centre"], replicates=20)
    truth = Boxes(np.array([[0.0, 0, 10, 10]]), np.array([0]), np.ones(1))
    # Inside the object and far too small for an IoU of 0.5.
    found = Boxes(np.array([[4.0, 4, 7, 7]]), np.array([0]), np.array([0.9]))
    scores.add(truth, found, item="one")
    figures = {figure.name: figure for figure in scores.metrics()}
    assert figures["cpm"].value == 0
    assert figures["cpm-centre"].value == 1
    assert figures["froc-centre/0.125"].value == 1
    assert "centre inside" in figures["cpm-centre"].protocol
    assert "IoU >= 0.5" in figures["cpm"].protocol
