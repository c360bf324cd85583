"""The support vector machine on hand-made features: solved once by scikit-learn, answered by plain arithmetic.

The features are a host step (`features` or `outline-features`); everything after them, the scaler, the
selection, the kernel and the calibration, is in the graph. Cortes and Vapnik, Machine Learning 20 (1995).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from medzoo.errors import UserError
from medzoo.inputs.feature_input import FeatureInput
from medzoo.nn.calibration import OperatingRule, operating_point
from medzoo.nn.net import Entry, Geometry, Net, Params, Spec
from medzoo.nn.svm.machine import Machine
from medzoo.nn.svm.solver import SvmFit, SvmSearch, fit_svm, tree_rules
from medzoo.types import Array

_RULE: OperatingRule = "specificity-90"


class SvmParams(Params):
    """Parameters of the SVM; lists are searched inside grouped folds."""

    kernel: Literal["rbf", "linear"] = Field("rbf", description="kernel of the machine")
    cost: tuple[float, ...] = Field((0.3, 1.0, 3.0, 10.0), min_length=1, description="values of C to try")
    gamma: tuple[float, ...] = Field((0.003, 0.01, 0.03), min_length=1, description="values of gamma to try (rbf)")
    select: Literal["none", "anova", "mutual-information"] = Field(
        "none", description="how features are ranked, inside the folds, to keep the decisive ones"
    )
    keep: tuple[int, ...] = Field((8, 16, 32, 0), min_length=1, description="numbers of features to try; 0: all")
    folds: int = Field(5, ge=2, description="folds of the search and of the calibration")
    learn_from: tuple[Literal["given", "found"], ...] = Field(
        ("given",), min_length=1, description="outlines to learn from: the experts', or those the boundary method finds"
    )
    apart: bool = Field(
        False, description="one machine for given outlines and one for found ones; the features step has flag: true"
    )
    tree_depth: int = Field(3, ge=1, le=6, description="depth of the readable tree in the report")


class Svm(Net):
    """features (B, F) -> probabilities (B, 2).

    With `apart` the last feature says which of two machines answers: 1 for a given outline, 0 for a found one.
    """

    inputs = ("features",)
    outputs = ("probabilities",)

    def __init__(self, params: SvmParams, spec: Spec) -> None:
        super().__init__()
        if len(spec.labels) != 2:
            raise UserError(f"an svm needs exactly two labels, the recipe names {len(spec.labels)}", "labels")
        self.params, self.labels, self.seed = params, tuple(spec.labels), spec.seed
        self.geometry = Geometry()
        self.training_input = FeatureInput(outlines=params.learn_from, flagged=params.apart)
        self.machines = nn.ModuleList(Machine(params.kernel) for _ in range(2 if params.apart else 1))
        self.operating_point: tuple[float, str] | None = None
        self.calibration: dict[str, Any] | None = None
        self._rows: list[tuple[Array, ...]] = []
        for name in ("reference", "spread"):
            self.register_buffer(name, torch.zeros(0))

    def forward(self, features: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        """Calibrated probabilities of both labels."""
        positive = self.machines[0](features)
        if self.params.apart:
            given = (features[:, -1] > 0.5).to(positive.dtype)
            positive = given * positive + (1 - given) * self.machines[1](features)
        return {"probabilities": torch.stack([1 - positive, positive], dim=1)}

    def resize_buffers(self, state: Mapping[str, Tensor]) -> None:
        """Resize the buffers of features and support vectors, whose number only the fit decides."""
        for name, buffer in list(self.named_buffers()):
            found = state.get(name)
            if found is not None and found.ndim == buffer.ndim and found.dtype == buffer.dtype:
                owner, _, leaf = name.rpartition(".")
                setattr(self.get_submodule(owner), leaf, torch.zeros_like(found))

    def partial_fit(
        self,
        batch: Tensor,
        target: Any,
        groups: Tensor | None = None,
        items: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> None:
        """Take in features (B, F), class indices (B,), group codes (B,) that folds keep together, and item codes
        (B,): rows of one item are outlines of one mass, whose answers are averaged by `weights` (B,)."""
        y = np.asarray(target, np.int64)
        alone = np.arange(len(y)) + sum(len(rows[1]) for rows in self._rows)
        codes, masses = (alone if given is None else np.asarray(given) for given in (groups, items))
        shares = np.ones(len(y)) if weights is None else np.asarray(weights)
        self._rows.append((np.asarray(batch, np.float64), y, codes, masses, shares))

    def fit(self, names: Sequence[str] = ()) -> None:
        """Fit the rows that `partial_fit` collected. `names`: of the features, for the report.

        Raises UserError, see medzoo.nn.svm.solver.
        """
        x, y, groups, items, weights = (np.concatenate(column) for column in zip(*self._rows, strict=True))
        self._rows.clear()
        names = names or [f"feature {k}" for k in range(x.shape[1])]
        broken = ~np.isfinite(x)
        if broken.any():
            column = int(broken.any(axis=0).argmax())
            often = "never" if broken[:, column].all() else "not always"
            raise UserError(f"the feature {names[column]} is {often} finite", "preprocess.host", "leave its group out")
        self.reference = torch.as_tensor(np.median(x, axis=0), dtype=torch.float32)
        if self.params.apart:
            self.reference[-1] = 0.0
        self.spread = torch.as_tensor(x.std(axis=0), dtype=torch.float32)
        parts = (
            {"given": x[:, -1] > 0.5, "found": x[:, -1] <= 0.5} if self.params.apart else {"": np.ones(len(x), bool)}
        )
        width = x.shape[1] - (1 if self.params.apart else 0)
        counted = np.zeros(len(y))
        found: dict[str, Any] = {}
        for machine, (outline, rows) in zip(self.machines, parts.items(), strict=True):
            assert isinstance(machine, Machine)
            solution = fit_svm(x[rows, :width], y[rows], groups[rows], self._search())
            machine.store(solution.arrays)
            counted[rows] = solution.probabilities
            found[f"{outline} outlines" if outline else "all outlines"] = self._fit_summary(
                solution, x[rows], y[rows], groups[rows], names
            )
        self.fit_report = found
        # Where machine outlines are learned from, they are the ones that users will mostly have.
        judged = parts.get("found", np.ones(len(y), bool))
        _, first, mass = np.unique(items[judged], return_index=True, return_inverse=True)
        share = weights[judged]
        averaged = np.bincount(mass, counted[judged] * share) / np.bincount(mass, share)
        point = operating_point(averaged, y[judged][first], rule=_RULE)
        self.operating_point = (
            point,
            f"{_RULE}: largest sensitivity at specificity >= 0.90 on {len(first)} out-of-fold training answers",
        )
        self.calibration = {
            "method": "Platt scaling of decision values out of grouped folds",
            "items": len(y),
            "reference": [float(v) for v in self.reference],
        }

    def _search(self) -> SvmSearch:
        p = self.params
        return SvmSearch(p.kernel, p.cost, p.gamma, p.keep, p.select, p.folds, self.seed)

    def _fit_summary(self, solution: SvmFit, x: Array, y: Array, groups: Array, names: Sequence[str]) -> dict[str, Any]:
        kept = list(solution.features)
        text, tree_auc = tree_rules(
            x[:, kept],
            y,
            groups,
            names=[names[k] for k in kept],
            labels=self.labels,
            depth=self.params.tree_depth,
            seed=self.seed,
        )
        return {
            "rows": len(y),
            "groups": len(np.unique(groups)),
            "chosen": dict(solution.chosen),
            "support_vectors": len(np.asarray(solution.arrays["weights"])),
            "out_of_fold_auc": round(solution.auc, 4),
            "features": [names[k] for k in kept],
            "tree_out_of_fold_auc": round(tree_auc, 4),
            "rules": text,
        }


ENTRY = Entry(
    task="classify",
    params=SvmParams,
    learns="closed-form",
    build=Svm,
    tiny={"cost": [1.0], "gamma": [0.1], "folds": 3},
)
