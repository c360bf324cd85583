"""Random crops with their label map, centred on places that are balanced over the classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from medzoo.augment.augmentation import Augmentation, augment_with_labels, check_label_maps
from medzoo.data.opened import OpenData
from medzoo.inputs.batches import Batch, generator
from medzoo.inputs.training_input import Loaders, TrainingInput, brightness_examples
from medzoo.inputs.volume_loaders import Part, open_volumes
from medzoo.inputs.volumes import Volume, at_epoch, sample_foreground, sample_places
from medzoo.recipe import Recipe
from medzoo.runtime.metadata import Geometry
from medzoo.types import IGNORED, Array


@dataclass(frozen=True)
class CropInput(TrainingInput):
    """Random crops (B, C, *size) around sampled voxels; the target is the label map (B, *size).

    `foreground`: share of the crops drawn around a foreground class, the others around any voxel (Isensee et al.,
    2021); None draws every class, background too, equally often.
    """

    size: tuple[int, ...]
    foreground: float | None = None

    def open(self, geometry: Geometry, recipe: Recipe, data: OpenData) -> Loaders:
        """See TrainingInput.open."""

        augmentations = [step.params for step in recipe.train.augment]
        check_label_maps(augmentations, dims=len(self.size))

        def batches(volumes: Sequence[Volume], steps: int, seed: int, part: Part) -> CropBatches:
            return CropBatches(
                volumes,
                self,
                geometry=geometry,
                batch=recipe.train.batch,
                steps=steps,
                seed=seed,
                augmentations=augmentations if part == "train" else (),
            )

        return open_volumes(geometry, recipe, data, batches)

    def example(self, geometry: Geometry, *, labels: int, size: int = 8) -> tuple[Any, ...]:
        """See TrainingInput.example."""
        classes = torch.arange(size) % labels
        maps = classes.view(-1, *[1] * len(self.size)).expand(-1, *self.size).clone()
        return brightness_examples(classes, (geometry.channels * geometry.slices, *self.size)), maps


class CropBatches:
    """(B, slices * C, *size) float32 and labels (B, *size) int64; 255 marks what lies outside the scan."""

    def __init__(
        self,
        volumes: Sequence[Volume],
        crop: CropInput,
        *,
        geometry: Geometry,
        batch: int,
        steps: int,
        seed: int,
        augmentations: Sequence[Augmentation] = (),
    ) -> None:
        self.volumes, self.crop, self.geometry, self.augmentations = volumes, crop, geometry, augmentations
        self.size, self.steps, self.seed = batch, steps, seed

    def __len__(self) -> int:
        return self.steps

    def batch(self, epoch: int, step: int, *, rank: int = 0, world: int = 1) -> Batch:
        """See Batches.batch."""
        rng = generator(self.seed, epoch, step)
        volumes = at_epoch(self.volumes, epoch)
        draw = sample_places if self.crop.foreground is None else partial(sample_foreground, share=self.crop.foreground)
        which, flat = draw(volumes, rng, self.size)
        shifts = rng.random((self.size, len(self.crop.size)))
        images, targets = [], []
        for number, (index, place, shift) in list(enumerate(zip(which, flat, shifts, strict=True)))[rank::world]:
            image, target = self._crop(volumes[index], int(place), shift)
            volumes[index].release()
            image = image.astype(np.float32, copy=False)
            if self.augmentations:
                tensors = torch.from_numpy(np.ascontiguousarray(image)), torch.from_numpy(np.ascontiguousarray(target))
                own = generator(self.seed, epoch, step, 1 + number)
                image, target = (one.numpy() for one in augment_with_labels(*tensors, self.augmentations, own))
            images.append(image)
            targets.append(target)
        return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(targets).astype(np.int64))

    def _crop(self, volume: Volume, place: int, shift: Array) -> tuple[Array, Array]:
        centre = np.array(np.unravel_index(place, volume.target.shape))
        sliced = len(centre) > len(self.crop.size)
        size = (1, *self.crop.size) if sliced else self.crop.size
        # The drawn place lies anywhere in the middle half, so that it is not always the centre that counts.
        offset = np.concatenate([[0.5], 0.25 + shift / 2]) if sliced else 0.25 + shift / 2
        start = centre - np.floor(offset * np.array(size)).astype(int)
        if self.crop.foreground is not None:
            # As little of the crop as can be lies outside the scan.
            room = np.array(volume.target.shape) - np.array(size)
            start = np.clip(start, np.minimum(room, 0), np.maximum(room, 0))
        if sliced:
            reach = self.geometry.slices // 2
            start[0] = centre[0] - reach
            image = crop_window(volume.array, start, (2 * reach + 1, *self.crop.size), 0)
            image = image.transpose(1, 0, 2, 3).reshape(-1, *self.crop.size)
            start[0] = centre[0]
            return image, crop_window(volume.target[None], start, size, IGNORED)[0, 0]
        return crop_window(volume.array, start, size, 0), crop_window(volume.target[None], start, size, IGNORED)[0]


def crop_window(array: Array, start: Array, size: Sequence[int], fill: int) -> Array:
    """`size` values of `array` (C, *spatial) from `start` on, `fill` where that is outside."""
    out = np.full((array.shape[0], *size), fill, array.dtype)
    take, put = [slice(None)], [slice(None)]
    for first, length, limit in zip(start, size, array.shape[1:], strict=True):
        low, high = max(0, int(first)), min(limit, int(first) + length)
        take.append(slice(low, max(low, high)))
        put.append(slice(low - int(first), max(low, high) - int(first)))
    out[tuple(put)] = array[tuple(take)]
    return out
