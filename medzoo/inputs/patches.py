"""Patches around single pixels of slices, balanced over the classes, with the centre's label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from medzoo.data.opened import OpenData
from medzoo.errors import UserError
from medzoo.inputs.batches import Batch, generator
from medzoo.inputs.crops import crop_window
from medzoo.inputs.training_input import Loaders, TrainingInput, brightness_examples
from medzoo.inputs.volume_loaders import Part, open_volumes
from medzoo.inputs.volumes import Volume, at_epoch, sample_places
from medzoo.recipe import Recipe
from medzoo.runtime.metadata import Geometry
from medzoo.types import Array


@dataclass(frozen=True)
class PatchInput(TrainingInput):
    """Patches (B, C, size, size) around single pixels, balanced over the classes; the target is the centre's label."""

    size: int

    def open(self, geometry: Geometry, recipe: Recipe, data: OpenData) -> Loaders:
        """See TrainingInput.open."""

        if recipe.train.augment:
            raise UserError(
                "patches around single pixels are not augmented", f"{recipe.source}: train.augment", "leave it out"
            )

        def batches(volumes: Sequence[Volume], steps: int, seed: int, part: Part) -> PatchBatches:
            return PatchBatches(volumes, self, geometry=geometry, batch=recipe.train.batch, steps=steps, seed=seed)

        return open_volumes(geometry, recipe, data, batches)

    def example(self, geometry: Geometry, *, labels: int, size: int = 8) -> tuple[Any, ...]:
        """See TrainingInput.example."""
        classes = torch.arange(size) % labels
        return brightness_examples(classes, (geometry.channels * geometry.slices, self.size, self.size)), classes


class PatchBatches:
    """(B, slices * C, size, size) float32 and labels (B,) int64, drawn from slices (S first) of scans. Channels stand
    as runtime.slices.slice_with_neighbours gives them: slice by slice, in each its C sequences."""

    def __init__(
        self,
        volumes: Sequence[Volume],
        patch: PatchInput,
        *,
        geometry: Geometry,
        batch: int,
        steps: int,
        seed: int,
    ) -> None:
        self.patch, self.size, self.steps, self.seed = patch, batch, steps, seed
        self.reach = geometry.slices // 2
        self.volumes = volumes

    def __len__(self) -> int:
        return self.steps

    def batch(self, epoch: int, step: int, *, rank: int = 0, world: int = 1) -> Batch:
        """See Batches.batch."""
        volumes = at_epoch(self.volumes, epoch)
        which, flat = sample_places(volumes, generator(self.seed, epoch, step), self.size)
        which, flat = which[rank::world], flat[rank::world]
        channels = volumes[0].array.shape[0] * (2 * self.reach + 1)
        patches = np.empty((len(which), channels, self.patch.size, self.patch.size), np.float32)
        labels = np.empty(len(which), np.int64)
        for index in np.unique(which):
            mine = np.flatnonzero(which == index)
            patches[mine] = self._gather(volumes[index], flat[mine])
            labels[mine] = volumes[index].target.reshape(-1)[flat[mine]]
        return torch.from_numpy(patches), torch.from_numpy(labels)

    def _gather(self, volume: Volume, flat: Array) -> Array:
        """(n, slices * C, size, size): the windows of a volume around flat indices of its target, zeros outside it as
        in the graph and in the Predictor."""
        size, slices = self.patch.size, 2 * self.reach + 1
        centres = np.stack(np.unravel_index(flat, volume.target.shape), axis=1)
        starts = centres - [self.reach, size // 2, size // 2]
        ends = np.array(volume.target.shape) - [slices, size, size]
        inside = ((starts >= 0) & (starts <= ends)).all(axis=1)
        picked = np.zeros((len(flat), volume.array.shape[0], slices, size, size), np.float32)
        if inside.any():
            windows = np.lib.stride_tricks.sliding_window_view(volume.array, (slices, size, size), axis=(1, 2, 3))
            s, y, x = starts[inside].T
            picked[inside] = windows[:, s, y, x].swapaxes(0, 1)
        for place in np.flatnonzero(~inside):
            picked[place] = crop_window(volume.array, starts[place], (slices, size, size), 0)
        volume.release()
        return picked.swapaxes(1, 2).reshape(len(flat), -1, size, size)
