"""Two classes ranked by a score: ROC, AUC, sensitivity at a specificity, for many weightings at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medzoo.metrics.interval import ratio
from medzoo.types import Array


class Ranking:
    """Items (N,) in falling order of their score. A threshold never parts equal scores: ties move together.

    `truth` (N,) bool; `scores` (N,). Methods take multiplicities (R, N) and return (R,), NaN where a class
    is missing.
    """

    def __init__(self, truth: Array, scores: Array) -> None:
        scores = np.asarray(scores, float)
        self.order = np.argsort(-scores, kind="stable")
        ranked = scores[self.order]
        self.positive = np.asarray(truth, bool)[self.order]
        self.ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else np.array([], int)
        self.thresholds = ranked[self.ends]

    def curve(self, weights: Array) -> tuple[Array, Array]:
        """Positives and negatives (R, 1 + thresholds) called at each falling threshold, after none called."""
        w = weights[:, self.order]
        called = np.cumsum(w, axis=1)[:, self.ends]
        right = np.cumsum(w * self.positive, axis=1)[:, self.ends]
        start = np.zeros((len(w), 1))
        return np.hstack([start, right]), np.hstack([start, called - right])

    def auc(self, weights: Array) -> Array:
        """Area under the ROC curve, ties counted half (Mann-Whitney)."""
        tp, fp = self.curve(weights)
        area = np.sum(np.diff(fp, axis=1) * (tp[:, 1:] + tp[:, :-1]), axis=1) / 2
        return ratio(area, tp[:, -1] * fp[:, -1])

    def sensitivity_at(self, weights: Array, *, specificity: float) -> Array:
        """The highest sensitivity whose specificity is at least this."""
        tp, fp = self.curve(weights)
        allowed = (1 - specificity) * fp[:, -1:] + 1e-9
        reached = np.sum(fp <= allowed, axis=1) - 1
        best = tp[np.arange(len(tp)), reached]
        return ratio(np.where(fp[:, -1] > 0, best, np.nan), tp[:, -1])


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold (score >= threshold is called positive), what it gave where it was chosen, and how."""

    threshold: float
    sensitivity: float
    specificity: float
    protocol: str


def auc(truth: Array, scores: Array) -> float:
    """Area under the ROC curve of `truth` (N,) bool and `scores` (N,); NaN if a class is missing."""
    return float(Ranking(truth, scores).auc(np.ones((1, len(scores))))[0])


def sensitivity_at_specificity(truth: Array, scores: Array, *, specificity: float = 0.90) -> float:
    """Highest sensitivity among thresholds whose specificity is at least this, on the same items."""
    ones = np.ones((1, len(scores)))
    return float(Ranking(truth, scores).sensitivity_at(ones, specificity=specificity)[0])


def roc(truth: Array, scores: Array) -> tuple[Array, Array, Array]:
    """False positive rate, sensitivity and threshold (T,) from nothing called (threshold inf) to all."""
    ranking = Ranking(truth, scores)
    tp, fp = ranking.curve(np.ones((1, len(scores))))
    return ratio(fp[0], fp[0, -1:]), ratio(tp[0], tp[0, -1:]), np.append(np.inf, ranking.thresholds)


def threshold_at_specificity(truth: Array, scores: Array, *, specificity: float = 0.90) -> OperatingPoint:
    """The lowest threshold whose specificity is at least this; to be chosen on validation data."""
    fpr, tpr, thresholds = roc(truth, scores)
    i = int(np.sum(1 - fpr >= specificity - 1e-12)) - 1
    # Scores are float32, so the step above the best one must be one too.
    threshold = thresholds[i] if i else np.nextafter(np.float32(thresholds[1]), np.float32(np.inf))
    return OperatingPoint(
        float(threshold),
        float(tpr[i]),
        float(1 - fpr[i]),
        f"lowest threshold with specificity >= {specificity:g} on {len(scores)} validation items",
    )
