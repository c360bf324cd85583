"""Whole images with boxes: the training input of detectors, of pictures and of slices of volumes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from medzoo.augment.augmentation import Labelled
from medzoo.data.dataset import Part
from medzoo.data.opened import OpenData
from medzoo.inputs.parts import TiledScenes, middle_part, random_part
from medzoo.inputs.scenes import OrderedScenes, SceneBatches, ScenePictures
from medzoo.inputs.slice_scenes import SliceScenes
from medzoo.inputs.training_input import Loaders, TrainingInput, cache_key, golden_batches
from medzoo.recipe import Recipe
from medzoo.runtime.metadata import Geometry
from medzoo.runtime.parity.gate import Golden

_WHOLE = 24  # uncut images among the golden inputs


@dataclass(frozen=True)
class DetectionInput(TrainingInput):
    """Whole images padded to one `size`, or random parts of them (`part`: height, width) while training; targets are a
    list of {boxes (N, 4), labels (N,)}, with `masks` also {masks (L, H, W)} (medzoo.data.instances)."""

    size: tuple[int, int]
    masks: bool = False
    part: tuple[int, int] | None = None

    def open(self, geometry: Geometry, recipe: Recipe, data: OpenData) -> Loaders:
        """See TrainingInput.open."""
        settings = recipe.train
        train, val = (self._pictures(geometry, recipe, data, part) for part in ("train", "val"))
        if settings.workers:
            train.decode(on_bad_image=settings.on_bad_image)
        batches = SceneBatches(
            train,
            batch=settings.batch,
            seed=settings.seed,
            steps=settings.steps_per_epoch,
            augmentations=[step.params for step in settings.augment],
            on_bad_image=settings.on_bad_image,
            part=None if self.part is None else partial(_random_part, self.part),
            middle=None if self.part is None else partial(middle_part, size=self.part),
        )
        ordered = OrderedScenes(val, batch=settings.batch, on_bad_image=settings.on_bad_image) if len(val) else None
        return Loaders(batches, ordered, partial(_golden, val if len(val) else train))

    def example(self, geometry: Geometry, *, labels: int, size: int = 2) -> tuple[Any, ...]:
        """See TrainingInput.example: a bright rectangle on each image."""
        images = torch.rand(size, geometry.channels * geometry.slices, *self.size) * 20
        targets = []
        for index in range(size):
            x, y = 10 + 5 * index, 12
            images[index, :, y : y + 30, x : x + 24] += 200
            box = torch.tensor([[x, y, x + 24, y + 30]], dtype=torch.float32)
            target = {"boxes": box, "labels": torch.zeros(1, dtype=torch.int64)}
            if self.masks:
                target["masks"] = torch.zeros(1, *self.size, dtype=torch.int32)
                target["masks"][0, y : y + 30, x : x + 24] = 1
            targets.append(target)
        return images, targets

    def _pictures(self, geometry: Geometry, recipe: Recipe, data: OpenData, part: Part) -> ScenePictures:
        items = data.part(part)
        if geometry.slices > 1:
            return SliceScenes(
                data.data,
                items,
                recipe.host_steps,
                geometry=geometry,
                labels=len(recipe.labels),
                size=self.size,
                key=cache_key(recipe),
            )
        options: dict[str, Any] = {"channels": geometry.channels, "size": self.size, "masks": self.masks}
        if geometry.tile is not None:
            return TiledScenes(data.data, items, recipe.host_steps, tile=geometry.tile, **options)
        return ScenePictures(data.data, items, recipe.host_steps, **options)


def _random_part(size: tuple[int, int], sample: Labelled, rng: np.random.Generator) -> Labelled:
    return random_part(sample, size, rng)


def _golden(pictures: ScenePictures) -> list[Golden]:
    """Batches with no, one and the most objects among their images; then more images as they are, since a fault in one
    channel shows in one prediction of ten."""
    scenes = [pictures.stored(index) for index in range(len(pictures))]
    counts = [len(scene.boxes) for scene in scenes]
    firsts = [counts.index(wanted) for wanted in (max(counts), 0, 1) if wanted in counts]
    chosen = list(dict.fromkeys([*firsts, *range(len(scenes))]))
    found = golden_batches(lambda index: scenes[chosen[index % len(chosen)]].array)
    for index in chosen[1 : 1 + _WHOLE]:
        image = scenes[index].array[None].astype(np.float32)
        found.append(Golden(f"data {'x'.join(map(str, image.shape))} of {pictures.items[index].id}", {"image": image}))
    return found
