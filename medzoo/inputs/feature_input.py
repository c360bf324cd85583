"""Feature vectors that host steps compute: the training input of classifiers on hand-made features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from rich.progress import track

from medzoo.data.opened import OpenData
from medzoo.inputs.features import FeatureBatches
from medzoo.inputs.training_input import Loaders, TrainingInput, range_of
from medzoo.recipe import Recipe
from medzoo.report.summary import Console
from medzoo.runtime.metadata import Geometry, Metadata
from medzoo.runtime.parity.gate import Golden
from medzoo.types import Array


@dataclass(frozen=True)
class FeatureInput(TrainingInput):
    """Feature vectors (B, F), a class index (B,), and a group code (B,).

    `outlines`: whether masses are measured with the outline that came with the data, with the one that the step finds,
    or with both in turn. `flagged`: the last feature must tell which (`outline_given`).
    """

    outlines: tuple[Literal["given", "found"], ...] = ("given",)
    flagged: bool = False

    def open(self, geometry: Geometry, recipe: Recipe, data: OpenData) -> Loaders:
        """See TrainingInput.open; nets solved in closed form hold out groups themselves, so there is no validation."""
        train = FeatureBatches(
            data.data,
            data.part("train"),
            recipe.host_steps,
            outlines=self.outlines,
            flagged=self.flagged,
            group=recipe.data.split.group,
            on_bad_image=recipe.train.on_bad_image,
            watch=lambda items: track(items, description="measuring", console=Console(stderr=True)),
        )
        return Loaders(train, None, partial(_golden, train))

    def example(self, geometry: Geometry, *, labels: int, size: int = 8) -> tuple[Any, ...]:
        """See TrainingInput.example."""
        classes = torch.arange(size) % labels
        return torch.randn(size, 8) + 4 * classes[:, None], classes

    def probes(self, net: Any, metadata: Metadata, golden: Sequence[Golden]) -> list[Golden]:
        """See TrainingInput.probes; `net` has buffers `reference` and `spread` of the training features."""
        return feature_probes(net.reference.cpu().numpy(), net.spread.cpu().numpy())

    def value_range(self, data: OpenData, golden: Sequence[Golden]) -> tuple[float, float]:
        """See TrainingInput.value_range; features do not tell, so some images are read."""
        return range_of(data.data.load(item).image.array for item in data.part("train")[:8])


def _golden(vectors: FeatureBatches) -> list[Golden]:
    """Batches of 1, 2, 3 and 5 rows of features."""
    rows = vectors.batch(0, 0)[0].numpy().astype(np.float32)
    found = []
    for count in (1, 2, 3, 5):
        picked = np.resize(np.arange(len(rows)), count)
        found.append(Golden(f"data {count}x{rows.shape[1]}", {"features": rows[picked]}))
    return found


def feature_probes(reference: Array, spread: Array, *, seed: int = 0) -> list[Golden]:
    """Seeded probe rows {"features": (B, F) float32} of several batches, around where training rows lay.

    `reference`, `spread` (F,): middle and standard deviation of each feature. Rows reach three deviations out;
    a feature that only takes 0 and 1 is drawn as 0 or 1.
    """
    rng = np.random.default_rng(seed)
    found = []
    for batch in (1, 2, 3, 5):
        rows = reference + spread * rng.uniform(-3, 3, (batch, len(reference)))
        flags = np.isin(reference, (0, 1)) & (spread <= 0.5)
        rows[:, flags] = rng.integers(0, 2, (batch, int(flags.sum())))
        found.append(Golden(f"probe {batch}x{len(reference)}", {"features": rows.astype(np.float32)}))
    return found
