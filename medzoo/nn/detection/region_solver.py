"""Fit R-CNN's closed-form parts on features of regions: a linear SVM a class, and a ridge regression of boxes.

Girshick et al., CVPR 2014, section 2.3 and appendices B and C. Needs scikit-learn (extra `train`) when it is
called; what it leaves are plain arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from medzoo.errors import UserError, missing_extra
from medzoo.types import Array

# Features are scaled to this mean norm before anything is solved, so that costs mean the same for every network
# (the reference implementation's value).
NORM = 20.0
_BIAS = 10.0  # the constant feature of the SVM, as there


@dataclass(frozen=True, eq=False)
class Linear:
    """values = features @ weight.T + bias; `weight` (n, F), `bias` (n,)."""

    weight: Array
    bias: Array


def feature_scale(features: Array) -> float:
    """The factor that brings features (N, F) to the mean norm NORM."""
    return NORM / max(float(np.linalg.norm(features.astype(np.float32), axis=1).mean()), 1e-12)


def fit_region_svm(
    positives: Array,
    negatives: Array,
    *,
    scale: float,
    cost: float,
    weight: float,
    margin: float,
    first: int,
    seed: int,
) -> tuple[Linear, dict[str, int]]:
    """A linear SVM of hinge loss between features of `positives` (P, F) and `negatives` (N, F), and what it
    learned from: how many `objects`, `background` and `hard`.

    It is solved on `first` negatives drawn at random, then once more with every other one that it does not put
    below `margin` (hard negatives, one pass). `scale`: see `feature_scale`; `weight`: how much a positive counts
    more. Raises UserError where there is nothing on one of the sides.
    """
    try:
        from sklearn.svm import LinearSVC
    except ImportError:
        raise missing_extra("scikit-learn", "train") from None
    if not len(positives) or not len(negatives):
        side = "object" if not len(positives) else "background region"
        raise UserError(f"there are no {side} to fit an SVM on", "data.split", "give train a larger share")

    def solved(rows: Array) -> Linear:
        x = np.concatenate([positives, rows]).astype(np.float64) * scale
        y = np.repeat([1, 0], [len(positives), len(rows)])
        machine: Any = LinearSVC(
            C=cost,
            loss="hinge",
            class_weight={1: weight},
            intercept_scaling=_BIAS,
            random_state=seed,
            max_iter=10_000,
        ).fit(x, y)
        return Linear(machine.coef_ * scale, machine.intercept_)

    order = np.random.default_rng(seed).permutation(len(negatives))
    start, rest = order[:first], order[first:]
    line = solved(negatives[start])
    hard = rest[_values(negatives[rest], line) > margin]
    if len(hard):
        line = solved(negatives[np.concatenate([start, hard])])
    return line, {"objects": len(positives), "background": len(start), "hard": len(hard)}


def fit_ridge(features: Array, targets: Array, *, scale: float, penalty: float) -> Linear:
    """Box deltas (N, 4) from features (N, F): ridge regression, the mean itself unpenalised.

    No rows give zeros: boxes stay where they are.
    """
    width = features.shape[1]
    if not len(features):
        return Linear(np.zeros((targets.shape[1], width)), np.zeros(targets.shape[1]))
    x, y = features.astype(np.float64) * scale, targets.astype(np.float64)
    middle, mean = x.mean(axis=0), y.mean(axis=0)
    centred = x - middle
    weight = np.linalg.solve(centred.T @ centred + penalty * np.eye(width), centred.T @ (y - mean)).T
    return Linear(weight * scale, mean - weight @ middle)


def _values(features: Array, line: Linear, *, chunk: int = 8192) -> Array:
    """(N,) of a linear map of one output, a chunk of rows at a time: features are stored as float16."""
    parts = [features[k : k + chunk].astype(np.float32) @ line.weight[0] for k in range(0, len(features), chunk)]
    values: Array = np.concatenate([*parts, np.zeros(0)]) + line.bias[0]
    return values
