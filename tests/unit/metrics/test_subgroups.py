"""Subgroups hold the items they name, and what is worst comes first."""

from __future__ import annotations

import numpy as np
import pytest

from medzoo.metrics import Boxes, ClassifyScores, DetectScores, Scope, Scores, SegmentScores
from medzoo.metrics.subgroups import subgroups


def scores_by_size() -> Scores:
    """Forty items: perfect where they are small, at random where they are large."""
    random = np.random.default_rng(2)
    scores = Scores(Scope("made", "classify", ("benign", "malignant"), ("auc",)))
    main = scores.accumulator_of("")
    for k in range(40):
        p = float(k % 2) if k < 20 else float(random.random())
        main.add(k % 2, [1 - p, p], item=f"i{k}", group=f"g{k}")
        scores.facts[f"i{k}"] = {"diameter_px": float(k), "class": "ab"[k % 2], "source": "xy"[k // 20], "id": f"i{k}"}
    return scores


def test_groups_by_size_and_by_words_hold_their_own_items() -> None:
    rows = subgroups(scores_by_size())
    assert [(row["by"], row["group"], row["items"]) for row in rows] == [
        ("diameter_px", "below 13", 13),
        ("diameter_px", "13 to 26", 13),
        ("diameter_px", "from 26", 14),
        ("source", "x", 20),
        ("source", "y", 20),
    ]
    auc = {row["group"]: row["figures"][0]["value"] for row in rows}
    assert auc["x"] == auc["below 13"] == 1
    assert auc["y"] < 0.8
    assert rows[0]["figures"][0]["low"] is not None


def test_a_few_items_make_no_subgroups() -> None:
    assert subgroups(scores_by_size().only([f"i{k}" for k in range(12)])) == []


def test_errors_rank_the_worst_prediction_first() -> None:
    classify = ClassifyScores(("a", "b"), ["auc"])
    for item, (truth, p) in enumerate([(0, 0.1), (0, 0.9), (1, 0.6)]):
        classify.add(truth, [1 - p, p], item=str(item))
    faults, words = zip(*classify.errors(), strict=True)
    assert np.argmax(faults) == 1
    assert words[1] == "is a, called b 0.90"
    assert words[2] == "rightly b 0.60"

    segment = SegmentScores(("background", "x"), ["dice"])
    truth = np.array([[1, 1, 0, 0]])
    segment.add(truth, truth, item="right")
    segment.add(truth, 1 - truth, item="wrong")
    assert segment.errors() == [(0.0, "Dice x 1.00"), (1.0, "Dice x 0.00")]

    detect = DetectScores(("lesion",), ["ap50"], threshold=0.5)
    there = Boxes(np.array([[0.0, 0, 10, 10]]), np.zeros(1, int), np.empty(0))
    found = Boxes(np.array([[0.0, 0, 10, 10], [30, 30, 40, 40]]), np.zeros(2, int), np.array([0.9, 0.6]))
    detect.add(there, found, item="one false")
    detect.add(there, Boxes(np.empty((0, 4)), np.empty(0, int), np.empty(0)), item="missed")
    assert [w for _, w in detect.errors()] == ["1 of 1 found, 1 false", "0 of 1 found, 0 false"]
    assert detect.errors()[0][0] == pytest.approx(1.3)
