"""Loaders of the inputs that are drawn from prepared scans, and golden inputs cut from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import numpy as np

from medzoo.data.opened import OpenData
from medzoo.errors import UserError
from medzoo.inputs.batches import Batches
from medzoo.inputs.training_input import VALIDATION_STEPS, Loaders, cache_key
from medzoo.inputs.volumes import Volume, load_volumes
from medzoo.recipe import Recipe
from medzoo.runtime.metadata import Geometry
from medzoo.runtime.parity.gate import Golden

_STEPS = 100  # of an epoch that has no natural end, where the recipe names none

Part = Literal["train", "val"]
OpenBatches = Callable[[Sequence[Volume], int, int, Part], Batches]
"""Batches of (scans, steps an epoch, seed, part of the split)."""


def open_volumes(geometry: Geometry, recipe: Recipe, data: OpenData, batches: OpenBatches) -> Loaders:
    """Read and prepare the scans. Raises UserError where a label occurs in no training scan."""
    settings = recipe.train
    train, val = (
        load_volumes(
            data.data,
            data.part(part),
            recipe.host_steps,
            geometry=geometry,
            labels=len(recipe.labels),
            seed=settings.seed,
            key=cache_key(recipe),
        )
        for part in ("train", "val")
    )
    absent = [label for label, count in zip(recipe.labels, train.sizes.sum(axis=0), strict=True) if not count]
    if missing := [label for label in absent if label != recipe.labels[0]]:
        raise UserError(
            f"no voxel of {' or '.join(missing)} is in any of the {len(train)} training scans",
            f"{recipe.source}: labels",
            "leave it out, or see data.values and data.split",
        )
    return Loaders(
        batches(train, settings.steps_per_epoch or _STEPS, settings.seed, "train"),
        # Another seed than training's: the same samples would tie the two losses together.
        batches(val, min(VALIDATION_STEPS, settings.steps_per_epoch or _STEPS), settings.seed + 1, "val")
        if val
        else None,
        partial(_golden, geometry, val or train),
    )


def _golden(geometry: Geometry, volumes: Sequence[Volume]) -> list[Golden]:
    """Real batches of 1, 2, 3 and 5 inputs in four sizes, from the middle of the first scan."""
    array, dims = volumes[0].array, geometry.dims
    found = []
    for batch, part in ((1, 0.5), (2, 0.3), (3, 0.23), (5, 0.17)):
        spatial = array.shape[-dims:]
        sizes = [max(8, round(n * (part + 0.04 * axis))) for axis, n in enumerate(spatial)]
        window = tuple(slice(n // 2 - s // 2, n // 2 - s // 2 + s) for n, s in zip(spatial, sizes, strict=True))
        if dims == 2:
            # Slices first in (C, S, H, W): neighbours become channels.
            count = geometry.slices
            first = array.shape[1] // 2
            picks = [
                np.concatenate([array[:, (first + b + s) % array.shape[1]] for s in range(count)]) for b in range(batch)
            ]
            images = np.stack([pick[(slice(None), *window)] for pick in picks])
        else:
            images = np.stack([np.roll(array, b, axis=1)[(slice(None), *window)] for b in range(batch)])
        name = "x".join(map(str, images.shape))
        found.append(Golden(f"data {name}", {"image": np.ascontiguousarray(images, np.float32)}))
    return found
