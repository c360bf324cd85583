"""Thresholds, temperatures and conformal sets from the probabilities of labelled items. NumPy alone.

Guo et al., On Calibration of Modern Neural Networks, ICML 2017; Sadinle, Lei and Wasserman, JASA 2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from medzoo.types import Array

OperatingRule = Literal["specificity-90", "sensitivity-90", "youden"]
RULES: tuple[OperatingRule, ...] = ("specificity-90", "sensitivity-90", "youden")
_LEAST = 1e-12  # of a probability, so that it has a logarithm
_PRIOR = 0.5


def tempered(probabilities: Array, temperature: float) -> Array:
    """Probabilities (N, K) at another temperature: softmax(log p / T)."""
    logits = np.log(np.maximum(np.asarray(probabilities, np.float64), _LEAST)) / temperature
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: Array = raised / raised.sum(axis=1, keepdims=True)
    return found


def probability_temperature(probabilities: Array, truth: Array) -> float:
    """The T in [0.25, 4] at which `tempered` probabilities (N, K) of classes (N,) have the least log loss.

    log T has a normal prior of mean 0 and standard deviation `_PRIOR`: a few dozen items that are all answered rightly
    would otherwise make every answer certain.
    """
    rows = np.arange(len(truth))

    def cost(log_t: float) -> float:
        right = tempered(probabilities, math.exp(log_t))[rows, truth]
        return float(-np.log(np.maximum(right, _LEAST)).sum()) + 0.5 * (log_t / _PRIOR) ** 2

    return math.exp(golden_section(cost, math.log(0.25), math.log(4.0)))


def golden_section(cost: Callable[[float], float], low: float, high: float) -> float:
    """Find the minimum of a function that has one, by golden sections."""
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(60):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if cost(left) <= cost(right):
            high = right
        else:
            low = left
    return (low + high) / 2


def operating_point(scores: Array, truth: Array, *, rule: OperatingRule) -> float:
    """The threshold on scores (N,) of the positive class, `truth` (N,) 0 or 1, that a rule chooses.

    specificity-90: the most sensitive threshold whose specificity is at least 0.90; sensitivity-90: the most
    specific one whose sensitivity is; youden: the largest sensitivity + specificity. "score >= threshold" is
    positive. Thresholds lie halfway between neighbouring scores, so that rounding changes no answer.
    """
    values = np.unique(np.asarray(scores, float))
    thresholds = np.concatenate([values[:1] / 2, (values[1:] + values[:-1]) / 2, [(values[-1] + 1) / 2]])
    positive, negative = np.sort(scores[truth == 1]), np.sort(scores[truth == 0])
    sensitivity = 1 - np.searchsorted(positive, thresholds) / max(1, len(positive))
    specificity = np.searchsorted(negative, thresholds) / max(1, len(negative))
    if rule == "youden":
        return float(thresholds[np.argmax(sensitivity + specificity)])
    first, second = (specificity, sensitivity) if rule == "specificity-90" else (sensitivity, specificity)
    allowed = first >= 0.90
    # Of equally good thresholds the one that keeps more of what the rule guards.
    order = np.lexsort((first, np.where(allowed, second, -1.0)))
    return float(thresholds[order[-1]])


def conformal_threshold(probabilities: Array, truth: Array, *, coverage: float) -> float:
    """The probability from which on a class belongs to an item's set, so that sets hold the truth with at
    least `coverage` (split conformal prediction; Sadinle, Lei and Wasserman, JASA 2019), from (N, K), (N,).

    0 where N is too small to promise it: every class is then in every set.
    """
    n = len(truth)
    rank = math.ceil((n + 1) * coverage)
    if rank > n:
        return 0.0
    misses = np.sort(1 - probabilities[np.arange(n), truth])
    return float(1 - misses[rank - 1])
