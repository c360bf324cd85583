"""Solving an SVM with scikit-learn: selection, C and gamma searched in grouped folds, calibration out of fold.

Needs scikit-learn (extra `train`) when it is called; what it leaves are plain arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medzoo.errors import UserError, missing_extra
from medzoo.nn.svm.machine import LIMIT
from medzoo.types import Array


@dataclass(frozen=True, eq=False)
class SvmSearch:
    """The search space. `keep`: numbers of features to try, 0 for all; `select`: the criterion that ranks them."""

    kernel: str
    cost: Sequence[float]
    gamma: Sequence[float]
    keep: Sequence[int]
    select: str
    folds: int
    seed: int


@dataclass(frozen=True, eq=False)
class SvmFit:
    """`arrays`: what a Machine stores; `chosen`: the winning settings; `probabilities` (N,): of each training
    row by machines that did not see its group; `auc` of these; `features`: indices that were kept."""

    arrays: Mapping[str, Array | float]
    chosen: Mapping[str, Any]
    probabilities: Array
    auc: float
    features: Sequence[int]


def fit_svm(x: Array, y: Array, groups: Array, search: SvmSearch) -> SvmFit:
    """The machine for features `x` (N, F), labels `y` (N,) 0 or 1, `groups` (N,) that no fold divides.

    Raises UserError if only one label occurs, or a label has fewer than two groups.
    """
    try:
        from sklearn.metrics import roc_auc_score
        from sklearn.model_selection import GridSearchCV, cross_val_predict
    except ImportError:
        raise missing_extra("scikit-learn", "train") from None
    cv = grouped_folds(y, groups, search.folds, search.seed)
    grid: dict[str, Any] = {"svc__C": list(search.cost)}
    if search.kernel == "rbf":
        grid["svc__gamma"] = list(search.gamma)
    if search.select != "none":
        grid["select__k"] = sorted({min(k, x.shape[1]) if k else x.shape[1] for k in search.keep})
    found = GridSearchCV(_pipeline(search), grid, scoring="roc_auc", cv=cv).fit(x, y, groups=groups)
    best = found.best_estimator_
    # Other folds than those that chose the settings, so that the calibration is not tuned to them.
    fresh = grouped_folds(y, groups, search.folds, search.seed + 1)
    decisions = cross_val_predict(best, x, y, groups=groups, cv=fresh, method="decision_function")
    slope, offset = platt_scaling(decisions, y)
    kept = np.flatnonzero(best["select"].get_support()) if search.select != "none" else np.arange(x.shape[1])
    scaler, svc = best["scale"], best["svc"]
    arrays: dict[str, Array | float] = {
        "mean": scaler.mean_[kept],
        "scale": scaler.scale_[kept],
        "index": kept,
        "vectors": svc.support_vectors_,
        "weights": svc.dual_coef_[0],
        "bias": float(svc.intercept_[0]),
        "gamma": float(svc.gamma) if search.kernel == "rbf" else 0.0,
        "slope": slope,
        "offset": offset,
    }
    probabilities = 1 / (1 + np.exp(-(slope * decisions + offset)))
    chosen = {name.split("__")[1].replace("k", "features"): value for name, value in found.best_params_.items()}
    return SvmFit(arrays, chosen, probabilities, float(roc_auc_score(y, probabilities)), [int(k) for k in kept])


def grouped_folds(y: Array, groups: Array, count: int, seed: int) -> list[tuple[Array, Array]]:
    """At most `count` stratified folds that divide no group. Raises UserError where there cannot be two."""
    from sklearn.model_selection import StratifiedGroupKFold

    have = [len(np.unique(groups[y == label])) for label in (0, 1)]
    if not all(have):
        raise UserError(
            "only one of the two labels occurs among the training items",
            "data.split",
            "a classifier needs items of both: give train a larger share, or check the labels",
        )
    if min(have) < 2:
        raise UserError(
            "one of the labels has a single training group, so no group can be held out",
            "data.split",
            "give train a larger share",
        )
    cut = StratifiedGroupKFold(min(count, *have), shuffle=True, random_state=seed)
    return list(cut.split(y, y, groups))


def platt_scaling(decisions: Array, y: Array) -> tuple[float, float]:
    """Slope and offset of the logistic curve through decision values (N,), with Platt's softened targets
    (Platt, Advances in Large Margin Classifiers, 1999; in the form of Lin, Lin, Weng, Machine Learning 2007)."""
    from scipy.optimize import minimize

    positive, negative = float((y == 1).sum()), float((y == 0).sum())
    target = np.where(y == 1, (positive + 1) / (positive + 2), 1 / (negative + 2))

    def cost(ab: Array) -> tuple[float, Array]:
        z = ab[0] * decisions + ab[1]
        away = 1 / (1 + np.exp(-z)) - target
        value = float((np.logaddexp(0, z) - target * z).sum())
        return value, np.array([(away * decisions).sum(), away.sum()])

    best = minimize(cost, np.array([1.0, np.log((positive + 1) / (negative + 1))]), jac=True, method="BFGS")
    return float(best.x[0]), float(best.x[1])


def tree_rules(
    x: Array, y: Array, groups: Array, *, names: Sequence[str], labels: Sequence[str], depth: int, seed: int
) -> tuple[str, float]:
    """A shallow decision tree as text, and its AUC out of fold: what a person can check by hand.

    x (N, F) holds the features that were kept, `names` their names; classes weigh alike.
    """
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import cross_val_predict
    from sklearn.tree import DecisionTreeClassifier, export_text

    tree = DecisionTreeClassifier(
        max_depth=depth, min_samples_leaf=max(2, len(x) // 40), class_weight="balanced", random_state=seed
    )
    out_of_fold = cross_val_predict(
        tree, x, y, groups=groups, cv=grouped_folds(y, groups, 5, seed), method="predict_proba"
    )
    text = str(export_text(tree.fit(x, y), feature_names=list(names), class_names=list(labels), decimals=3))
    return text.rstrip(), float(roc_auc_score(y, out_of_fold[:, 1]))


def _pipeline(search: SvmSearch) -> Any:
    from sklearn.feature_selection import SelectKBest, f_classif, mutual_info_classif
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler
    from sklearn.svm import SVC

    steps: list[tuple[str, Any]] = [
        ("scale", StandardScaler()),
        ("clip", FunctionTransformer(np.clip, kw_args={"a_min": -LIMIT, "a_max": LIMIT})),
    ]
    if search.select == "anova":
        steps.append(("select", SelectKBest(f_classif)))
    elif search.select == "mutual-information":
        score = _seeded(mutual_info_classif, search.seed)
        steps.append(("select", SelectKBest(score)))
    steps.append(("svc", SVC(kernel=search.kernel, class_weight="balanced", cache_size=500)))
    return Pipeline(steps)


def _seeded(function: Any, seed: int) -> Any:
    from functools import partial

    return partial(function, random_state=seed)
