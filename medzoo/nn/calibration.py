"""Calibrate a classifier on validation data: temperature, operating point, conformal sets.

Arrays and torch alone. Nothing here sees training or test items.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from medzoo.types import Array

OperatingRule = Literal["specificity-90", "sensitivity-90", "youden"]


def fit_temperature(logits: Tensor, target: Tensor) -> float:
    """The T in [0.05, 20] for which softmax(logits / T) has the least negative log likelihood (Guo et al.,
    ICML 2017, section 4.2), of logits (N, K) and classes (N,).

    Searched over log T: the likelihood has one minimum in 1 / T, so golden sections find it.
    """
    wide = logits.double()

    def cost(log_t: float) -> float:
        return float(torch.nn.functional.cross_entropy(wide / math.exp(log_t), target))

    low, high = math.log(0.05), math.log(20.0)
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(60):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if cost(left) <= cost(right):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


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


def conformal_sets(probabilities: Array, threshold: float) -> Array:
    """(N, K) bool: which classes are in each item's set. Empty or many: "not sure"."""
    sets: Array = probabilities >= threshold
    return sets


def calibrate(
    logits: Tensor,
    target: Tensor,
    *,
    coverage: float | None,
    rule: OperatingRule,
    calibrated_on: str = "validation items",
) -> tuple[float, dict[str, Any], tuple[float, str] | None]:
    """Temperature, the record for the metadata, and (threshold, rule) where there are two classes.

    `calibrated_on`: the items, in words.
    """
    temperature = fit_temperature(logits, target)
    probabilities = (logits.double() / temperature).softmax(dim=1).numpy()
    truth = target.numpy()
    record: dict[str, Any] = {
        "method": f"temperature scaling on {calibrated_on}",
        "temperature": temperature,
        "items": len(truth),
    }
    if coverage is not None:
        threshold = conformal_threshold(probabilities, truth, coverage=coverage)
        record["conformal"] = {"coverage": coverage, "threshold": threshold, "method": "split conformal, least sets"}
    point = None
    if logits.shape[1] == 2 and 0 < truth.sum() < len(truth):
        words = {
            "specificity-90": f"largest sensitivity at specificity >= 0.90 on {calibrated_on}",
            "sensitivity-90": f"largest specificity at sensitivity >= 0.90 on {calibrated_on}",
            "youden": f"largest sensitivity + specificity on {calibrated_on}",
        }[rule]
        point = (operating_point(probabilities[:, 1], truth, rule=rule), f"{rule}: {words}")
    return temperature, record, point
