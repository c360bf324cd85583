"""Objects that do not count (VOC's difficult ones, COCO's crowds): neither hit nor miss nor false positive."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medzoo.data.dataset import IgnoredObjects, Objects
from medzoo.metrics import Boxes, DetectScores
from medzoo.metrics.match import overlap_with_ignored

COUNTED, DIFFICULT, ELSEWHERE = [0, 0, 10, 10], [20, 20, 30, 30], [60, 60, 70, 70]
NAMES = ("ap50", "sensitivity", "false-positives", "cpm", "cpm-centre")


def truth(*, crowd: bool = False, ignored: bool = True, box: list[int] = DIFFICULT) -> Objects:
    objects = Objects(np.array([COUNTED], np.float32), np.array([0]))
    beside = IgnoredObjects(np.array([box], np.float32), np.array([0]), crowd)
    return objects.ignoring(beside) if ignored else objects


def figures(there: Objects, *found: list[int]) -> dict[str, float]:
    scores = DetectScores(["cell"], NAMES, threshold=0.5, replicates=10)
    ranks = 0.9 - 0.01 * np.arange(len(found))[::-1]
    scores.add(there, Boxes(np.array(found, float).reshape(-1, 4), np.zeros(len(found), int), ranks), item="a")
    again = DetectScores(["cell"], NAMES, threshold=0.5, replicates=10)
    for record in json.loads(json.dumps(scores.records())):
        again.restore(record)
    values = {figure.name: figure.value for figure in scores.metrics()}
    assert values == {figure.name: figure.value for figure in again.metrics()}
    return values


@pytest.mark.parametrize("crowd", [False, True])
def test_a_detection_on_it_counts_neither_way(crowd: bool) -> None:
    found = figures(truth(crowd=crowd), COUNTED, DIFFICULT, DIFFICULT)
    assert found["ap50"] == found["sensitivity"] == found["cpm"] == found["cpm-centre"] == 1
    assert found["false-positives"] == 0
    bare = figures(truth(ignored=False), COUNTED, DIFFICULT, DIFFICULT)
    assert bare["ap50"] < 1
    assert bare["false-positives"] == 2


def test_it_is_not_missed() -> None:
    assert figures(truth(), COUNTED)["sensitivity"] == 1
    assert figures(truth(), DIFFICULT)["sensitivity"] == 0


def test_what_lies_elsewhere_is_false_still() -> None:
    assert figures(truth(), COUNTED, ELSEWHERE)["false-positives"] == 1
    assert figures(truth(), COUNTED, COUNTED)["false-positives"] == 1


def test_in_a_crowd_a_detection_need_only_lie() -> None:
    small, wide = [22, 22, 26, 26], [0, 0, 100, 100]
    assert figures(truth(crowd=True, box=wide), COUNTED, small)["false-positives"] == 0
    assert figures(truth(crowd=False, box=wide), COUNTED, small)["false-positives"] == 1


def test_other_labels_are_not_ignored() -> None:
    scores = DetectScores(["cell", "speck"], ("false-positives",), threshold=0.5, replicates=10)
    scores.add(truth(), Boxes(np.array([DIFFICULT], float), np.array([1]), np.array([0.9])), item="a")
    assert scores.metrics()[0].value == 1


def test_how_far_detections_lie_within() -> None:
    found, ignored = np.array([[0.0, 0, 4, 4], [8, 8, 12, 12]]), np.array([[0.0, 0, 10, 10]])
    assert overlap_with_ignored(found, ignored, crowd=False).round(4).tolist() == [0.16, 0.0357]
    assert overlap_with_ignored(found, ignored, crowd=True).tolist() == [1, 0.25]
    assert overlap_with_ignored(found, ignored, crowd=False, centre=True).tolist() == [1, 1]
