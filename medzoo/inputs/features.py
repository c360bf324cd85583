"""Feature vectors of masses, measured by the host steps: all of them in one batch, with group codes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch

from medzoo.data.dataset import Dataset, Item
from medzoo.errors import UserError
from medzoo.inputs.batches import Batch
from medzoo.io.channels import to_channels
from medzoo.preprocess.extras import MASS_HINT, MassHint, mass
from medzoo.preprocess.step import HostStep
from medzoo.preprocess.steps import apply_steps
from medzoo.types import Array


class FeatureBatches:
    """One batch (N, F) float64 with class indices (N,), group codes (N,), item codes (N,) and weights (N,),
    measured when it is first asked for; `names` (F,) of the features. An item measured by several outlines has
    several rows, whose weights say how much each counts in its answer.

    Raises UserError where no step measures, or `flagged` asks for a flag that is not the last feature.
    """

    def __init__(
        self,
        data: Dataset,
        items: Sequence[Item],
        steps: Sequence[HostStep],
        *,
        outlines: Sequence[str],
        flagged: bool,
        group: str,
        on_bad_image: str = "stop",
        watch: Callable[[Iterable[Item]], Iterable[Item]] = iter,
    ) -> None:
        self.data, self.items, self.steps, self.outlines = data, items, steps, tuple(outlines)
        self.group, self.on_bad_image, self.watch = group, on_bad_image, watch
        self.names = next((step.names for step in reversed(steps) if step.measures), ())
        if not self.names:
            raise UserError(
                "the model takes features, but no host step computes any",
                where="preprocess.host",
                hint="end it with {op: features, groups: [shape15]}",
            )
        if flagged and self.names[-1] != "outline_given":
            raise UserError(
                "the model treats given and found outlines differently, but the features do not say which is which",
                where="preprocess.host",
                hint="give the features step flag: true",
            )
        self._rows: Batch | None = None

    def __len__(self) -> int:
        return 1

    def batch(self, epoch: int, step: int, *, rank: int = 0, world: int = 1) -> Batch:
        """See Batches.batch."""
        if self._rows is None:
            self._rows = self._measured()
        return self._rows

    def _measured(self) -> Batch:
        vectors: list[Array] = []
        targets: list[int] = []
        weights: list[float] = []
        groups: list[str] = []
        masses: list[str] = []
        for item in self.watch(self.items):
            try:
                rows, shares, target = self._item(item)
            except UserError:
                if self.on_bad_image == "stop":
                    raise
                continue
            vectors += rows
            weights += shares
            targets += [target] * len(rows)
            groups += [item.groups.get(self.group, item.id)] * len(rows)
            masses += [item.id] * len(rows)
        if not vectors:
            raise UserError("features could be computed for no training item", where="data")
        codes = [np.unique(np.array(names), return_inverse=True)[1].astype(np.int64) for names in (groups, masses)]
        return (
            torch.from_numpy(np.stack(vectors)),
            torch.tensor(targets, dtype=torch.int64),
            *map(torch.from_numpy, codes),
            torch.tensor(weights, dtype=torch.float64),
        )

    def _item(self, item: Item) -> tuple[list[Array], list[float], int]:
        sample = self.data.load(item)
        assert isinstance(sample.target, int)
        outlines_only = any(step.outlines_only for step in self.steps)
        image = sample.image if outlines_only else to_channels(sample.image, 1)
        rows: list[Array] = []
        weights: list[float] = []
        for outline in self.outlines if not outlines_only else ("given",):
            hint = MassHint()
            if outline == "given" and not outlines_only:
                if sample.mask is None:
                    raise UserError(
                        "has no outline to learn from", where=str(item.files.get("image", item.id)),
                        hint="learn_from: [found] needs none",
                    )  # fmt: skip
                hint = MassHint(mask=sample.mask)
            state = apply_steps(image, self.steps, extras={MASS_HINT: hint})
            rows += list(np.atleast_2d(np.asarray(state.image.array, np.float64)))
            measured = mass(state.extras)
            assert measured is not None
            weights += measured.weights
        return rows, weights, sample.target
