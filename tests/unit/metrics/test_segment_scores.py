"""Segmentation metrics against MONAI, and on shapes with known results."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_dice,
    compute_hausdorff_distance,
    compute_iou,
    compute_surface_dice,
)
from scipy.ndimage import gaussian_filter

from medzoo.errors import UserError
from medzoo.metrics import SegmentScores, paired_differences, restore_records
from medzoo.metrics.surface import compare_masks

LABELS = ("background", "csf", "grey-matter")


def blobs(shape, seed, classes=3):
    smooth = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    cuts = np.quantile(smooth, np.linspace(0, 1, classes + 1)[1:-1])
    return np.digitize(smooth, cuts).astype(np.uint8)


def one_hot(labels):
    return torch.tensor(np.moveaxis(np.eye(3)[labels], -1, 0)[None])


def named(figures):
    return {figure.name: figure for figure in figures}


@pytest.mark.parametrize(
    ("shape", "spacing"), [((24, 20, 18), (1.0, 0.8, 2.5)), ((20, 20, 20), (1, 1, 1)), ((40, 31), (0.5, 2.0))]
)
def test_labels_agree_with_monai(shape, spacing):
    truth, answer = blobs(shape, 0), blobs(shape, 0)
    changed = np.random.default_rng(1).random(shape) < 0.05
    answer[changed] = blobs(shape, 2)[changed]
    scores = SegmentScores(LABELS, tolerance=1.5)
    scores.add(truth, answer, item="a", spacing=spacing)
    got = scores.records()[0]["values"]
    y, p = one_hot(truth), one_hot(answer)
    want = {
        "dice": compute_dice(p, y, include_background=False),
        "jaccard": compute_iou(p, y, include_background=False),
        "hd95": compute_hausdorff_distance(p, y, percentile=95, spacing=spacing),
        "assd": compute_average_surface_distance(p, y, symmetric=True, spacing=spacing),
        "surface-dice": compute_surface_dice(p, y, [1.5, 1.5], spacing=spacing),
    }
    for name, values in want.items():
        for k, label in enumerate(LABELS[1:]):
            assert got[label][name] == pytest.approx(float(values[0, k]), rel=1e-5), (name, label)


def test_shifted_cubes_in_millimetres():
    truth, answer = np.zeros((20, 20, 20), bool), np.zeros((20, 20, 20), bool)
    truth[5:10, 5:10, 5:10] = True
    answer[5:10, 5:10, 7:12] = True
    got = compare_masks(truth, answer, spacing=(1, 1, 3), diagonal=100)
    assert got["dice"] == pytest.approx(0.6)
    assert got["jaccard"] == pytest.approx(3 / 7)
    assert got["hd95"] == 6.0
    assert got["volume-error"] == 0.0


def test_cropping_to_the_labels_changes_nothing_at_the_borders():
    truth = np.zeros((30, 30, 30), np.uint8)
    truth[:4, :4, :4], truth[26:, 26:, 26:] = 1, 2
    answer = np.roll(truth, 1, 0)
    scores = SegmentScores(LABELS)
    scores.add(truth, answer, item="a", spacing=(1, 1, 1))
    y, p = one_hot(truth), one_hot(answer)
    want = compute_hausdorff_distance(p, y, percentile=95, spacing=1)
    assert scores.records()[0]["values"]["csf"]["hd95"] == pytest.approx(float(want[0, 0]))
    assert scores.records()[0]["values"]["grey-matter"]["hd95"] == pytest.approx(float(want[0, 1]))


def test_empty_masks_are_defined():
    empty, full = np.zeros((3, 4, 12), np.uint8), np.ones((3, 4, 12), np.uint8)
    scores = SegmentScores(("background", "lesion"))
    scores.add(full, empty, item="missed", spacing=(1, 1, 1))
    scores.add(empty, full, item="invented", spacing=(1, 1, 1))
    scores.add(empty, empty, item="healthy", spacing=(1, 1, 1))
    missed, invented, healthy = (r["values"]["lesion"] for r in scores.records())
    for scored, counts in ((missed, (144, 0)), (invented, (0, 144))):
        assert (scored.pop("true-voxels"), scored.pop("found-voxels")) == counts
    assert missed == invented
    assert missed == pytest.approx(
        {"dice": 0, "jaccard": 0, "hd95": 13, "assd": 13, "surface-dice": 0, "volume-error": 0.144}
    )
    assert {value for name, value in healthy.items() if not name.endswith("-voxels")} == {None}
    dice = named(scores.metrics())["dice"]
    assert (dice.value, dice.n, dice.groups) == (0, 2, 2)


def test_a_label_in_no_subject_is_undefined_and_leaves_the_mean_alone():
    truth = np.zeros((6, 6), np.uint8)
    truth[2:4] = 1
    scores = SegmentScores(LABELS, ["dice"])
    scores.add(truth, truth, item="a")
    got = named(scores.metrics())
    assert got["dice/grey-matter"].value is None
    assert got["dice/grey-matter"].n == 0
    assert got["dice"].value == 1.0


def test_one_subject_has_no_interval_and_says_so():
    scores = SegmentScores(LABELS)
    for i in range(3):
        scores.add(blobs((9, 9, 9), i), blobs((9, 9, 9), 5), item=f"scan{i}", group="s1", spacing=(1, 1, 1))
    for figure in scores.metrics():
        assert figure.value is not None
        assert (figure.low, figure.high, figure.n, figure.groups) == (None, None, 3, 1)
        assert "no interval" in figure.protocol


def test_several_subjects_have_the_mean_and_an_interval():
    scores = SegmentScores(LABELS, ["dice"])
    for i in range(8):
        answer = blobs((9, 9, 9), i)
        answer[: 1 + i % 3] = 0
        scores.add(blobs((9, 9, 9), i), answer, item=str(i), spacing=(1, 1, 1))
    table = np.array([[r["values"][k]["dice"] for k in LABELS[1:]] for r in scores.records()])
    got = named(scores.metrics())
    assert got["dice"].value == pytest.approx(table.mean())
    assert got["dice/csf"].value == pytest.approx(table[:, 0].mean())
    for figure in got.values():
        assert figure.low < figure.value < figure.high
        assert figure.groups == 8


def test_scored_inside_a_mask_by_name():
    truth, answer = blobs((12, 12), 0), blobs((12, 12), 1)
    inside = np.zeros((12, 12), bool)
    inside[3:9] = True
    masked, plain = SegmentScores(LABELS, ["dice"]), SegmentScores(LABELS, ["dice"])
    masked.add(truth, answer, item="a", within=inside)
    plain.add(truth[3:9], answer[3:9], item="a")
    assert masked.metrics()[0].value == plain.metrics()[0].value
    assert "inside the mask" in masked.metrics()[0].protocol
    assert "mask" not in plain.metrics()[0].protocol
    masked.add(truth, answer, item="b")
    assert "(1 of 2)" in masked.metrics()[0].protocol


def test_units_are_millimetres_with_a_spacing_and_pixels_without():
    truth, answer = np.ones((10, 10, 10), np.uint8), np.ones((10, 10, 10), np.uint8)
    answer[:5] = 0
    volume, picture = (SegmentScores(("background", "x"), ["hd95", "volume-error"]) for _ in range(2))
    volume.add(truth, answer, item="a", spacing=(2, 2, 2))
    picture.add(truth[:, :, 0], answer[:, :, 0], item="a")
    assert named(volume.metrics())["volume-error"].value == pytest.approx(4.0)
    assert "ml" in named(volume.metrics())["volume-error"].protocol
    assert named(picture.metrics())["volume-error"].value == 50
    assert "px" in named(picture.metrics())["hd95"].protocol


def test_segment_records_restore_the_same_metrics_and_pair():
    first, second = SegmentScores(LABELS), SegmentScores(LABELS, tolerance=2.0)
    for i in range(6):
        truth = blobs((9, 9, 9), i)
        worse = np.where(np.random.default_rng(i).random(truth.shape) < 0.3, 0, truth)
        first.add(truth, truth, item=str(i), spacing=(1, 1, 1))
        second.add(truth, worse, item=str(i), spacing=(1, 1, 1))
    again = restore_records(SegmentScores(LABELS), json.loads(json.dumps(second.records())))
    assert again.metrics() == second.metrics()
    difference = named(paired_differences(first, again))["dice"]
    assert difference.value == pytest.approx(1 - named(second.metrics())["dice"].value)
    assert 0 < difference.low < difference.value < difference.high


def test_two_grids_are_refused():
    with pytest.raises(UserError, match=r"case7: the prediction has shape \(3, 4\)"):
        SegmentScores(LABELS).add(np.zeros((4, 3)), np.zeros((3, 4)), item="case7")


def test_surfaces_are_measured_only_on_request():
    truth = blobs((9, 9, 9), 0)
    scores = SegmentScores(LABELS, ["dice"])
    scores.add(truth, np.roll(truth, 1, 0), item="a", spacing=(1, 1, 1))
    assert set(scores.records()[0]["values"]["csf"]) == {"dice", "jaccard", "volume-error"}
    with pytest.raises(UserError, match="a: the record has no hd95"):
        restore_records(SegmentScores(LABELS, ["hd95"]), scores.records())


def test_ignored_voxels_count_for_neither_side() -> None:
    truth, answer = np.zeros((6, 6), np.uint8), np.zeros((6, 6), np.uint8)
    truth[1:4, 1:4], answer[1:4, 1:4] = 1, 1
    truth[4:], answer[5] = 255, 1
    for labels in (["none", "some"], ["none", "some", "other"]):
        scores = SegmentScores(labels, ["dice", "volume-error"])
        scores.add(truth, answer, item="one")
        found = {metric.name: metric.value for metric in scores.metrics()}
        assert found[f"dice{'/some' if len(labels) > 2 else ''}"] == 1.0
        assert found[f"volume-error{'/some' if len(labels) > 2 else ''}"] == 0.0
