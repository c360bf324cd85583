"""Classification metrics against scikit-learn and torchmetrics, and the slides' confusion matrix."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torchmetrics.functional.classification import multiclass_calibration_error

from medzoo.errors import UserError
from medzoo.metrics import ClassifyScores, compute, paired_differences, restore_records
from medzoo.metrics import classify as c
from medzoo.metrics.interval import bootstrap
from medzoo.metrics.ranking import (
    Ranking,
    auc,
    roc,
    sensitivity_at_specificity,
    threshold_at_specificity,
)

BINARY = ("benign", "malignant")
THREE = ("benign", "malignant", "normal")


def drawn(n, k, seed=0, ties=True):
    rng = np.random.default_rng(seed)
    truth = rng.integers(k, size=n)
    logits = rng.normal(size=(n, k)) + 1.2 * np.eye(k)[truth]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if ties:
        p[: n // 2] = np.full((n // 2, k), 1 / k)
    return truth, p


def named(figures):
    return {figure.name: figure for figure in figures}


def slides():
    truth = np.array([1] * 10 + [0] * 90)
    answer = np.array([1] * 2 + [0] * 8 + [1] * 8 + [0] * 82)
    return truth, np.eye(2)[answer]


def test_the_slides_confusion_matrix():
    truth, p = slides()
    names = ["sensitivity", "specificity", "balanced-accuracy", "f1", "accuracy"]
    got = named(compute("classify", names, truth, p, labels=BINARY))
    assert c.confusion(truth, p.argmax(1), classes=2).tolist() == [[82, 8], [8, 2]]
    assert got["sensitivity"].value == pytest.approx(0.20)
    assert got["sensitivity"].low == pytest.approx(0.057, abs=5e-4)
    assert got["sensitivity"].high == pytest.approx(0.510, abs=5e-4)
    assert "Wilson" in got["sensitivity"].protocol
    assert got["specificity"].value == pytest.approx(0.911, abs=5e-4)
    assert got["balanced-accuracy"].value == pytest.approx(0.556, abs=5e-4)
    assert got["balanced-accuracy/majority"].value == pytest.approx(0.5)
    assert got["f1"].value == pytest.approx(0.20)
    assert got["accuracy"].value == pytest.approx(0.84)
    assert got["accuracy/majority"].value == pytest.approx(0.90)
    assert "benign" in got["accuracy/majority"].protocol


def test_two_labels_agree_with_scikit_learn():
    truth, p = drawn(300, 2)
    got = named(compute("classify", None, truth, p, labels=BINARY))
    decided = p.argmax(1)
    assert got["auc"].value == pytest.approx(sk.roc_auc_score(truth, p[:, 1]))
    assert got["brier"].value == pytest.approx(sk.brier_score_loss(truth, p[:, 1]))
    assert got["f1"].value == pytest.approx(sk.f1_score(truth, decided))
    assert got["balanced-accuracy"].value == pytest.approx(sk.balanced_accuracy_score(truth, decided))
    assert got["sensitivity"].value == pytest.approx(sk.recall_score(truth, decided))
    fpr, tpr, _ = sk.roc_curve(truth, p[:, 1], drop_intermediate=False)
    assert got["sensitivity-at-specificity-90"].value == pytest.approx(tpr[fpr <= 0.1].max())
    for figure in got.values():
        assert figure.low <= figure.value <= figure.high
        assert (figure.n, figure.groups) == (300, 300)


def test_three_labels_agree_with_scikit_learn_and_torchmetrics():
    truth, p = drawn(300, 3, seed=1)
    got = named(compute("classify", None, truth, p, labels=THREE))
    decided = p.argmax(1)
    assert got["auc"].value == pytest.approx(sk.roc_auc_score(truth, p, multi_class="ovr"))
    assert got["auc/malignant"].value == pytest.approx(sk.roc_auc_score(truth == 1, p[:, 1]))
    assert got["f1"].value == pytest.approx(sk.f1_score(truth, decided, average="macro"))
    assert got["sensitivity"].value == pytest.approx(sk.recall_score(truth, decided, average="macro"))
    assert got["specificity/normal"].value == pytest.approx(sk.recall_score(truth != 2, decided != 2))
    assert got["brier"].value == pytest.approx(sk.brier_score_loss(truth, p, scale_by_half=False))
    # Off the edges of the bins, which torchmetrics closes below.
    truth, p = drawn(300, 3, seed=1, ties=False)
    got = named(compute("classify", ["ece"], truth, p, labels=THREE))
    ece = multiclass_calibration_error(torch.tensor(p), torch.tensor(truth), 3, n_bins=15, norm="l1")
    assert got["ece"].value == pytest.approx(float(ece), abs=1e-6)


def test_the_calibrated_ece_is_what_a_calibrated_model_shows():
    rng = np.random.default_rng(4)
    p = rng.dirichlet((4, 1, 1), 400)
    got = named(compute("classify", ["ece"], np.zeros(len(p), int), p, labels=THREE))
    drawn = []
    for _ in range(300):
        # Truths that follow the probabilities themselves.
        truth = (p.cumsum(axis=1) < rng.random(len(p))[:, None]).sum(axis=1)
        drawn.append(c.expected_calibration_error(truth, p))
    assert got["ece/calibrated"].value == pytest.approx(np.mean(drawn), rel=0.05)


def test_weighted_statistics_are_those_of_the_repeated_items():
    truth, p = drawn(60, 3, seed=2)
    times = np.random.default_rng(0).integers(0, 3, 60)
    again = np.repeat(np.arange(60), times)
    for measure in filled(truth, p, THREE).measures():
        weighted = measure.statistic(times[None].astype(float))[0]
        same = {m.name: m for m in filled(truth[again], p[again], THREE).measures()}
        if "majority" not in measure.name:
            assert weighted == pytest.approx(same[measure.name].statistic(np.ones((1, len(again))))[0])


def filled(truth, p, labels, **options):
    scores = ClassifyScores(labels, **options)
    for i, (t, row) in enumerate(zip(truth, p, strict=True)):
        scores.add(t, row, item=str(i))
    return scores


def test_bootstrap_of_auc_equals_the_slow_way():
    truth, p = drawn(80, 2, seed=3)
    ranking = Ranking(truth == 1, p[:, 1])
    fast = bootstrap(ranking.auc, np.arange(80), replicates=100)
    from medzoo.metrics.interval import statistic_of_indices

    slow = bootstrap(statistic_of_indices(lambda i: sk.roc_auc_score(truth[i], p[i, 1])), np.arange(80), replicates=100)
    assert fast == pytest.approx(slow)


def test_perfect_reversed_and_constant_rankings():
    truth = np.array([0, 0, 1, 1])
    assert auc(truth, np.array([0.1, 0.2, 0.3, 0.4])) == 1.0
    assert auc(truth, np.array([0.4, 0.3, 0.2, 0.1])) == 0.0
    assert auc(truth, np.full(4, 0.5)) == 0.5
    assert np.isnan(auc(np.ones(4), np.arange(4)))
    assert sensitivity_at_specificity(truth, np.full(4, 0.5)) == 0.0


def test_specificity_of_exactly_ninety_percent_is_enough():
    truth = np.array([0] * 10 + [1] * 4)
    scores = np.array([0.9] + [0.1] * 9 + [0.95, 0.5, 0.5, 0.05])
    assert sensitivity_at_specificity(truth, scores) == 0.75
    chosen = threshold_at_specificity(truth, scores)
    assert (chosen.threshold, chosen.sensitivity, chosen.specificity) == (0.5, 0.75, pytest.approx(0.9))


def test_a_threshold_that_nothing_may_reach_lies_above_every_score():
    truth, scores = np.array([0, 1, 1]), np.array([0.9, 0.5, 0.4], np.float32)
    chosen = threshold_at_specificity(truth, scores)
    assert chosen.sensitivity == 0.0
    assert not np.any(scores >= np.float32(chosen.threshold))


def test_roc_goes_from_nothing_to_everything():
    truth, p = drawn(50, 2, seed=4)
    fpr, tpr, thresholds = roc(truth == 1, p[:, 1])
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert thresholds[0] == np.inf
    assert np.all(np.diff(thresholds[1:]) < 0)


def test_reliability_rows_add_up_to_the_calibration_error():
    truth, p = drawn(200, 2, seed=5)
    rows = c.reliability(truth, p)
    assert len(rows) == 15
    assert sum(row["n"] for row in rows) == 200
    gaps = [row["n"] * abs(row["accuracy"] - row["confidence"]) for row in rows if row["n"]]
    assert sum(gaps) / 200 == pytest.approx(c.expected_calibration_error(truth, p))
    json.dumps(rows)


def test_a_stored_threshold_decides():
    truth, p = drawn(100, 2, seed=6, ties=False)
    scores = filled(truth, p, BINARY, threshold=0.8)
    got = named(scores.metrics())
    assert got["sensitivity"].value == pytest.approx(np.mean(p[truth == 1, 1] >= 0.8))
    assert "threshold 0.8" in got["sensitivity"].protocol
    with_argmax = named(filled(truth, p, BINARY).metrics())
    assert got["auc"].value == with_argmax["auc"].value
    assert got["sensitivity"].value < with_argmax["sensitivity"].value


def test_groups_widen_the_interval_and_replace_wilson():
    truth, p = drawn(40, 2, seed=7)
    many_t, many_p = np.repeat(truth, 5), np.repeat(p, 5, axis=0)
    groups = [str(i // 5) for i in range(200)]
    alone = named(compute("classify", ["accuracy"], many_t, many_p, labels=BINARY))["accuracy"]
    grouped = named(compute("classify", ["accuracy"], many_t, many_p, labels=BINARY, groups=groups))["accuracy"]
    assert "Wilson" in alone.protocol
    assert "bootstrap over 40 groups" in grouped.protocol
    assert grouped.groups == 40
    assert grouped.high - grouped.low > 1.5 * (alone.high - alone.low)


def test_a_class_that_is_missing_leaves_auc_undefined_and_says_so():
    got = named(compute("classify", ["auc", "f1"], [1, 1], [[0.4, 0.6], [0.2, 0.8]], labels=BINARY))
    assert got["auc"].value is None
    assert got["auc"].low is None
    assert "undefined" in got["auc"].protocol
    macro = named(compute("classify", ["auc"], [0, 1, 1], np.eye(3)[[0, 1, 1]], labels=THREE))
    assert macro["auc"].value == 1.0
    assert "auc/normal" not in macro
    assert "normal" not in macro["auc"].protocol


def test_records_restore_the_same_metrics():
    truth, p = drawn(30, 3, seed=8)
    scores = ClassifyScores(THREE)
    for i in range(30):
        scores.add(truth[i], p[i], item=f"{i}.png", group=str(i % 7))
    again = restore_records(ClassifyScores(THREE), json.loads(json.dumps(scores.records())))
    assert again.metrics() == scores.metrics()


def test_paired_difference_ignores_the_order_of_items():
    truth, good = drawn(120, 2, seed=9, ties=False)
    _, bad = drawn(120, 2, seed=10, ties=False)
    first, second = ClassifyScores(BINARY, ["auc", "accuracy"]), ClassifyScores(BINARY, ["auc"])
    for i in range(120):
        first.add(truth[i], good[i], item=str(i), group=f"p{i // 2}")
    for i in reversed(range(120)):
        second.add(truth[i], bad[i], item=str(i), group=f"p{i // 2}")
    (difference,) = paired_differences(first, second)
    assert difference.value == pytest.approx(auc(truth, good[:, 1]) - auc(truth, bad[:, 1]))
    assert difference.low > 0
    (same,) = paired_differences(second, second)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    (back,) = paired_differences(second, first)
    assert (back.value, back.low, back.high) == pytest.approx(
        (-difference.value, -difference.high, -difference.low), abs=0.02
    )


def test_mistakes_are_named():
    with pytest.raises(UserError, match="did you mean 'auc'"):
        ClassifyScores(BINARY, ["acu"])
    with pytest.raises(UserError, match="no item"):
        ClassifyScores(BINARY).metrics()
    scores = filled([0], [[0.5, 0.5]], BINARY)
    with pytest.raises(UserError, match="0: the item was scored twice"):
        scores.add(0, [0.5, 0.5], item="0")
    with pytest.raises(UserError, match="not scored on the same items"):
        paired_differences(scores, ClassifyScores(BINARY))
    with pytest.raises(UserError, match="must have the same length"):
        compute("classify", None, [0, 1], [[0.5, 0.5]], labels=BINARY)


def test_sets_are_scored_where_a_threshold_of_them_is_given() -> None:
    scores = ClassifyScores(["a", "b", "c"], ["accuracy"], conformal=(0.3, 0.9))
    answers = [(0, [0.8, 0.1, 0.1]), (1, [0.5, 0.4, 0.1]), (2, [0.6, 0.3, 0.1]), (2, [0.0, 0.5, 0.5])]
    for number, (truth, probabilities) in enumerate(answers):
        scores.add(truth, probabilities, item=str(number))
    figures = {figure.name: figure for figure in scores.metrics()}
    assert figures["coverage"].value == pytest.approx(3 / 4)
    assert "0.9 stated" in figures["coverage"].protocol
    assert figures["set-size"].value == pytest.approx((1 + 2 + 2 + 2) / 4)


def test_exact_probabilities_show_an_error_by_chance_that_falls_with_the_root_of_the_number() -> None:
    rng = np.random.default_rng(0)
    rows = rng.dirichlet([2, 1, 1], 6400)
    few, many = c.ece_of_exact(rows[:100]), c.ece_of_exact(rows)
    assert few / many == pytest.approx(8, rel=0.25)
    drawn = (rows.cumsum(axis=1) < rng.random((6400, 1))).sum(axis=1)
    assert c.expected_calibration_error(drawn, rows) == pytest.approx(many, abs=0.01)
