"""Metrics of outlines: mask AP against pycocotools; panoptic quality, aggregated Jaccard, distances of known cases."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass

import numpy as np
import pytest
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from medzoo.boxes import mask_to_box
from medzoo.data.instances import stack_layers
from medzoo.errors import UserError
from medzoo.metrics import Boxes, DetectScores, restore_records
from medzoo.metrics.outlines import NAMES

CELLS = ("RBC", "WBC", "Platelets")
SHAPE = (140, 160)
PRECISIONS = ("mask-ap", "mask-ap50", "mask-ap75", "mask-ap-small", "mask-ap-medium", "mask-ap-large")


class Pasted:
    """Masks of detections that are at hand."""

    def __init__(self, masks, shape=SHAPE):
        self.masks, self.shape = masks, shape

    def crop(self, index):
        mask = self.masks[index]
        box = mask_to_box(mask)
        if box is None:
            return (0,) * mask.ndim, mask[(slice(0, 0),) * mask.ndim]
        n = mask.ndim
        axes = (box[:n][::-1], box[n:][::-1]) if n == 2 else (box[:n], box[n:])
        low, high = (axis.astype(int) for axis in axes)
        return tuple(low), mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]


@dataclass
class Beside:
    boxes: object
    labels: object
    masks: object
    crowd: bool = True


def boxes_of(masks):
    return np.array([mask_to_box(mask) if mask.any() else np.zeros(2 * mask.ndim) for mask in masks]).reshape(-1, 4)


def layers_of(masks):
    places = [(slice(0, SHAPE[0]), slice(0, SHAPE[1]))] * len(masks)
    return stack_layers(((k, places[k], mask) for k, mask in enumerate(masks)), SHAPE)


def disk(y, x, a, b):
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    return ((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 <= 1


def scene(rng, *, most=10, found=18, crowds=0, labels=3):
    """Ellipses of many sizes that may overlap, and detections that are shifted copies of some, doubles and strays."""
    shapes = [
        (*rng.uniform((0, 0), SHAPE), *np.exp(rng.uniform(np.log(3), np.log(70), 2)))
        for _ in range(rng.integers(0, most))
    ]
    guesses = []
    classes = rng.integers(labels, size=len(shapes))
    kinds = []
    for _ in range(found):
        if len(shapes) and rng.random() < 0.8:
            pick = int(rng.integers(len(shapes)))
            y, x, a, b = shapes[pick]
            guesses.append((y + rng.normal(0, a / 6), x + rng.normal(0, b / 6), a * rng.uniform(0.8, 1.2), b))
            kinds.append(classes[pick] if rng.random() < 0.9 else rng.integers(labels))
        else:
            guesses.append((*rng.uniform((0, 0), SHAPE), *rng.uniform(2, 30, 2)))
            kinds.append(rng.integers(labels))
    truth, masks = ([disk(*one) for one in some] for some in (shapes, guesses))
    some = [disk(*rng.uniform((0, 0), SHAPE), *rng.uniform(20, 60, 2)) for _ in range(crowds)]
    kept = [k for k, mask in enumerate(truth) if mask.any()]
    truth = [truth[k] for k in kept]
    beside = Beside(boxes_of(some), rng.integers(labels, size=crowds), layers_of(some)) if crowds else None
    there = Boxes(boxes_of(truth), classes[kept], np.empty(0), beside, layers_of(truth))
    # Few different scores, so that some are equal.
    scores = rng.integers(1, 40, len(masks)) / 40
    there_masks = truth
    return there, Boxes(boxes_of(masks), np.array(kinds, int), scores, masks=Pasted(masks)), there_masks, some


def reference(scenes, *, labels=3, most=100):
    """AP, AP50, AP75, small, medium, large, and AP50 by label, of pycocotools."""
    annotations, results = [], []
    for n, (there, found, truth, crowds) in enumerate(scenes, 1):
        kinds = [*there.labels, *(there.ignored.labels if there.ignored is not None else ())]
        for k, (mask, label) in enumerate(zip([*truth, *crowds], kinds, strict=True)):
            annotations.append({
                "id": len(annotations) + 1, "image_id": n, "category_id": int(label) + 1,
                "iscrowd": int(k >= len(truth)), "area": int(mask.sum()),
                "segmentation": coco_masks.encode(np.asfortranarray(mask.astype(np.uint8))),
            })  # fmt: skip
        for mask, label, score in zip(found.masks.masks, found.labels, found.scores, strict=True):
            rle = coco_masks.encode(np.asfortranarray(mask.astype(np.uint8)))
            results.append({"image_id": n, "category_id": int(label) + 1, "segmentation": rle, "score": float(score)})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": n + 1, "height": SHAPE[0], "width": SHAPE[1]} for n in range(len(scenes))],
            "categories": [{"id": k + 1, "name": str(k)} for k in range(labels)],
            "annotations": annotations,
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "segm")
        evaluation.params.maxDets = [1, 10, most]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., -1]  # (T, R, K, A)

    def mean(table):
        return table[table > -1].mean() if (table > -1).any() else np.nan

    whole = [mean(precision[..., 0]), mean(precision[0, ..., 0]), mean(precision[5, ..., 0])]
    sizes = [mean(precision[..., a]) for a in (1, 2, 3)]
    return whole + sizes, [mean(precision[0, :, k, 0]) for k in range(labels)]


def filled(scenes, names=None, *, labels=CELLS, **options):
    scores = DetectScores(labels, names, **options)
    for n, (there, found, *_) in enumerate(scenes):
        scores.add(there, found, item=str(n))
    return scores


def value(scores, name):
    (measure,) = [m for m in scores.measures() if m.name == name]
    return float(measure.statistic(np.ones((1, len(scores.items))))[0])


@pytest.mark.parametrize("seed", range(6))
def test_mask_precision_equals_pycocotools(seed):
    rng = np.random.default_rng(seed)
    scenes = [scene(rng, crowds=int(rng.integers(0, 3)) if seed % 2 else 0) for _ in range(12)]
    stats, by_label = reference(scenes)
    scores = filled(scenes, PRECISIONS)
    for name, wanted in zip(PRECISIONS, stats, strict=True):
        assert value(scores, name) == pytest.approx(wanted, abs=1e-9, nan_ok=True), name
    for label, wanted in zip(CELLS, by_label, strict=True):
        assert value(scores, f"mask-ap50/{label}") == pytest.approx(wanted, abs=1e-9)
    again = restore_records(DetectScores(CELLS, PRECISIONS), json.loads(json.dumps(scores.records())))
    assert [value(again, name) for name in PRECISIONS] == pytest.approx(
        [value(scores, name) for name in PRECISIONS], abs=0, nan_ok=True
    )


def test_crowded_pictures_count_500_detections():
    rng = np.random.default_rng(7)
    scenes = [scene(rng, most=60, found=260, labels=1) for _ in range(3)]
    scores = filled(scenes, ("mask-ap", "mask-ap-500", "mask-ap50-500", "mask-ap75-500"), labels=("nucleus",))
    few, many = reference(scenes, labels=1)[0], reference(scenes, labels=1, most=500)[0]
    assert value(scores, "mask-ap") == pytest.approx(few[0], abs=1e-9)
    for name, wanted in zip(("mask-ap-500", "mask-ap50-500", "mask-ap75-500"), many, strict=False):
        assert value(scores, name) == pytest.approx(wanted, abs=1e-9)
    assert many[0] != few[0]


def square(y, x, side=10, high=10):
    mask = np.zeros(SHAPE, bool)
    mask[y : y + high, x : x + side] = True
    return mask


def known(truth, found, scores=None, **options):
    """Metrics of one image of squares, by name."""
    there = Boxes(
        boxes_of(truth), np.zeros(len(truth), int), np.empty(0), options.pop("ignored", None), layers_of(truth)
    )
    ranks = np.array(scores if scores is not None else np.linspace(0.9, 0.5, len(found)))
    prediction = Boxes(boxes_of(found), np.zeros(len(found), int), ranks, masks=Pasted(found))
    spacing = options.pop("spacing", None)
    made = DetectScores(["nucleus"], replicates=10, **options)
    made.add(there, prediction, item="a", spacing=spacing)
    return {metric.name: metric.value for metric in made.metrics() if metric.name in NAMES}


def test_panoptic_quality_of_the_definition():
    # Two true, one predicted, IoU 0.8.
    got = known([square(0, 0), square(50, 50)], [square(0, 0, 8)])
    assert got["segmentation-quality"] == pytest.approx(0.8)
    assert got["recognition-quality"] == pytest.approx(2 / 3)
    assert got["panoptic-quality"] == pytest.approx(0.8 * 2 / 3)
    # 80 of 100 pixels shared, 100 missed.
    assert got["aggregated-jaccard"] == pytest.approx(80 / 200)


def test_aggregated_jaccard_adds_what_is_not_used():
    got = known([square(0, 0)], [square(0, 5), square(100, 100, 4, 5)])
    assert got["aggregated-jaccard"] == pytest.approx(50 / (150 + 20))
    assert got["panoptic-quality"] == 0


def test_a_pixel_belongs_to_the_surer_detection():
    truth = [square(0, 0), square(0, 10)]
    sure, wide = square(0, 0), square(0, 0, 20)
    got = known(truth, [wide, sure], scores=[0.6, 0.9])
    assert got["panoptic-quality"] == pytest.approx(1)
    assert got["aggregated-jaccard"] == pytest.approx(1)
    other = known(truth, [wide, sure], scores=[0.9, 0.6])
    assert other["panoptic-quality"] == 0, "the wide one takes all, and its IoU is a half"


def test_only_what_is_shown_counts():
    truth, found = [square(0, 0)], [square(0, 0), square(60, 60)]
    assert known(truth, found, scores=[0.9, 0.2])["recognition-quality"] == pytest.approx(2 / 3)
    assert known(truth, found, scores=[0.9, 0.2], threshold=0.5)["recognition-quality"] == 1


def test_a_detection_in_a_crowd_is_not_false():
    crowd = [square(50, 50, 40, 40)]
    beside = Beside(boxes_of(crowd), np.zeros(1, int), layers_of(crowd))
    got = known([square(0, 0)], [square(0, 0), square(60, 60), square(55, 55)], ignored=beside)
    assert got["panoptic-quality"] == got["aggregated-jaccard"] == got["mask-ap"] == 1
    without_masks = Beside(boxes_of(crowd), np.zeros(1, int), None)
    assert known([square(0, 0)], [square(0, 0), square(60, 60)], ignored=without_masks)["mask-ap"] == 1


def test_distances_of_what_is_found():
    # The right edge lies two pixels too far left: two of the four sides' pixels are off.
    truth, found = [square(10, 10, 20, 20)], [square(10, 10, 18, 20)]
    pixels = known(truth, found)
    assert pixels["mask-hd95"] == pytest.approx(2)
    assert 0 < pixels["mask-assd"] < 2
    assert pixels["mask-dice"] == pytest.approx(2 * 360 / 760)
    mm = known(truth, found, spacing=(0.5, 0.25))
    assert mm["mask-hd95"] == pytest.approx(0.5)
    assert mm["mask-dice"] == pixels["mask-dice"]
    assert known(truth, [square(100, 100)])["mask-hd95"] is None


def test_intervals_resample_whole_groups():
    rng = np.random.default_rng(3)
    names = ("mask-ap50", "mask-dice", "mask-hd95", "panoptic-quality", "aggregated-jaccard")
    scores = DetectScores(CELLS, names, replicates=100)
    for n in range(9):
        there, found, *_ = scene(rng, most=6, found=8)
        for copy in range(2):
            scores.add(there, found, item=f"{n}-{copy}", group=str(n))
    for metric in scores.metrics():
        assert metric.groups == 9
        if metric.name in names:
            assert metric.low <= metric.value <= metric.high
            assert metric.high > metric.low


def test_volumes_are_measured_in_millimetres():
    truth, found = np.zeros((2, 12, 12, 12), bool)
    truth[2:10, 2:10, 2:10], found[2:10, 2:10, 3:10] = True, True
    box = np.array([[2, 2, 2, 10, 10, 10.0]])
    scores = DetectScores(["lesion"], ["mask-ap", "mask-ap-medium", "mask-hd95"])
    there = Boxes(box, np.zeros(1, int), np.empty(0), None, truth[None].astype(np.uint16))
    scores.add(
        there, Boxes(box, np.zeros(1, int), np.ones(1), masks=Pasted([found], found.shape)), item="a", spacing=(2, 2, 2)
    )
    got = {metric.name: metric for metric in scores.metrics()}
    assert got["mask-ap"].value == got["mask-ap-medium"].value == pytest.approx(0.8)
    assert got["mask-hd95"].value == pytest.approx(2)
    assert "in mm" in got["mask-hd95"].protocol


def test_named_metrics_need_masks_and_others_are_left_out():
    box = Boxes(np.array([[0, 0, 10, 10.0]]), np.zeros(1, int), np.ones(1))
    plain = DetectScores(["cell"], replicates=10)
    plain.add(box, box, item="a")
    assert not {metric.name for metric in plain.metrics()} & set(NAMES)
    with pytest.raises(UserError, match="a: its objects have no outlines, which mask-ap needs"):
        DetectScores(["cell"], ["ap", "mask-ap"]).add(box, box, item="a")
    mask = [square(0, 0)]
    there = Boxes(box.boxes, box.labels, np.empty(0), None, layers_of(mask))
    with pytest.raises(UserError, match="a: the detections have no outlines"):
        DetectScores(["cell"], ["mask-dice"]).add(there, box, item="a")
    small = Boxes(box.boxes, box.labels, box.scores, masks=Pasted([np.ones((4, 4), bool)], (4, 4)))
    with pytest.raises(UserError, match=r"masks have shape \(4, 4\), but the true ones"):
        DetectScores(["cell"], ["mask-dice"]).add(there, small, item="a")
    nothing = Boxes(np.empty((0, 4)), np.empty(0, int), np.empty(0))
    empty = DetectScores(["cell"], ["mask-ap"], replicates=10)
    empty.add(nothing, nothing, item="none there")
    empty.add(there, nothing, item="missed")
    assert empty.metrics()[0].value == 0
