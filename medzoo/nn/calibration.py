"""Calibrate a classifier on validation data: temperature, operating point, conformal sets.

Arrays and torch alone. Nothing here sees training or test items.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from medzoo.metrics.calibration import OperatingRule, conformal_threshold, golden_section, operating_point
from medzoo.types import Array

__all__ = ["OperatingRule", "calibrate", "conformal_sets", "conformal_threshold", "fit_temperature", "operating_point"]


def fit_temperature(logits: Tensor, target: Tensor) -> float:
    """The T in [0.05, 20] for which softmax(logits / T) has the least negative log likelihood (Guo et al.,
    ICML 2017, section 4.2), of logits (N, K) and classes (N,).

    Searched over log T: the likelihood has one minimum in 1 / T, so golden sections find it.
    """
    wide = logits.double()

    def cost(log_t: float) -> float:
        return float(torch.nn.functional.cross_entropy(wide / math.exp(log_t), target))

    return math.exp(golden_section(cost, math.log(0.05), math.log(20.0)))


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
