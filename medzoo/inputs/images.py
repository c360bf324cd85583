"""Whole pictures with their class: shuffled, changed and mixed for training, in order for validation."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from medzoo.augment.augmentation import Augmentation, augment, check_augmentations
from medzoo.data.opened import OpenData
from medzoo.data.split import NO_GROUP, make_split
from medzoo.errors import UserError
from medzoo.inputs.batches import Batch, generator, in_order, shuffled
from medzoo.inputs.pictures import Pictures
from medzoo.inputs.training_input import Loaders, TrainingInput, brightness_examples, golden_batches
from medzoo.recipe import Recipe
from medzoo.runtime.metadata import Geometry
from medzoo.runtime.parity.gate import Golden
from medzoo.types import Array

BadImage = Literal["stop", "skip"]
log = logging.getLogger("medzoo.training")


@dataclass(frozen=True)
class ImageInput(TrainingInput):
    """Whole images (B, C, *size), resized to `size` on the host; the target is a class index (B,)."""

    size: tuple[int, int]

    def open(self, geometry: Geometry, recipe: Recipe, data: OpenData) -> Loaders:
        """See TrainingInput.open."""
        settings = recipe.train
        train, val = (
            Pictures(
                data.data,
                data.part(part),
                recipe.host_steps,
                labels=recipe.labels,
                channels=geometry.channels,
                size=self.size,
            )
            for part in ("train", "val")
        )
        if settings.workers:
            # Decoded before the workers branch off, or each of them would decode everything in every epoch.
            train.decode(on_bad_image=settings.on_bad_image)
        batches = ImageBatches(
            train,
            batch=settings.batch,
            seed=settings.seed,
            steps=settings.steps_per_epoch,
            augmentations=[step.params for step in settings.augment],
            mixup=settings.mixup,
            on_bad_image=settings.on_bad_image,
            group=recipe.data.split.group,
        )
        ordered = OrderedImages(val, batch=settings.batch, on_bad_image=settings.on_bad_image) if len(val) else None
        return Loaders(batches, ordered, partial(_golden, val if len(val) else train))

    def example(self, geometry: Geometry, *, labels: int, size: int = 8) -> tuple[Any, ...]:
        """See TrainingInput.example."""
        classes = torch.arange(size) % labels
        return brightness_examples(classes, (geometry.channels * geometry.slices, *self.size)), classes


def _golden(pictures: Pictures) -> list[Golden]:
    return golden_batches(lambda index: pictures.stored(index % len(pictures)))


@dataclass(frozen=True)
class _Folds:
    """The split section of an ensemble's folds (medzoo.data.split.SplitSection)."""

    group: str
    seed: int
    folds: int
    fold: int
    given: bool = False
    train: float | None = None
    val: float | None = 0
    test: float | None = 0
    stratify: bool = True


class ImageBatches:
    """Training batches (B, C, *size) float32 with classes (B,) int64, or shares (B, K) float32 under mixup.

    Batches are full (see `shuffled`); `skip` puts the next readable picture in the place of one that cannot be read.
    """

    def __init__(
        self,
        pictures: Pictures,
        *,
        batch: int,
        seed: int,
        steps: int | None = None,
        augmentations: Sequence[Augmentation] = (),
        mixup: float = 0.0,
        on_bad_image: BadImage = "stop",
        group: str = NO_GROUP,
    ) -> None:
        check_augmentations(augmentations, boxes=False)
        self.pictures, self.size, self.seed = pictures, batch, seed
        self.group, self.asked = group, steps
        self.steps = steps or -(-len(pictures) // batch)
        self.augmentations, self.mixup, self.on_bad_image = augmentations, mixup, on_bad_image
        self.bad: set[int] = set()

    def __len__(self) -> int:
        return self.steps

    def batch(self, epoch: int, step: int, *, rank: int = 0, world: int = 1) -> Batch:
        """See Batches.batch."""
        order = self._order(epoch, step)
        rng = generator(self.seed, epoch, step)
        share = float(rng.beta(self.mixup, self.mixup)) if self.mixup else 1.0
        partners = rng.permutation(self.size)
        images, targets = [], []
        for place in range(self.size)[rank::world]:
            image, label = self._one(order, place, epoch, step)
            target = torch.tensor(label)
            if self.mixup:
                other, second = self._one(order, int(partners[place]), epoch, step)
                image = share * image + (1 - share) * other
                target = share * self._shares(label) + (1 - share) * self._shares(second)
            images.append(image)
            targets.append(target)
        return torch.stack(images), torch.stack(targets)

    def joined(self, other: OrderedImages) -> ImageBatches:
        """The same of these pictures and the `other` ones together."""
        return self._of(self.pictures.of([*self.pictures.items, *other.pictures.items]), seed=self.seed)

    def fold(self, number: int, count: int) -> tuple[ImageBatches, OrderedImages]:
        """Training batches without fold `number` of `count`, and that fold in order; no group is divided."""
        section = _Folds(group=self.group, seed=self.seed, folds=count, fold=number)
        split = make_split(self.pictures.items, section)
        kept, held = (
            self.pictures.of([item for item in self.pictures.items if item.id in set(ids)])
            for ids in (split.train, split.test)
        )
        held_out = OrderedImages(held, batch=self.size, on_bad_image=self.on_bad_image)
        return self._of(kept, seed=self.seed + number), held_out

    def _of(self, pictures: Pictures, *, seed: int) -> ImageBatches:
        return ImageBatches(
            pictures,
            batch=self.size,
            seed=seed,
            steps=self.asked,
            augmentations=self.augmentations,
            mixup=self.mixup,
            on_bad_image=self.on_bad_image,
            group=self.group,
        )

    def names(self, epoch: int, step: int, *, rank: int = 0, world: int = 1) -> list[str]:
        """The ids of a batch's items."""
        return [self.pictures.items[index].id for index in self._order(epoch, step)[rank::world]]

    def _order(self, epoch: int, step: int) -> Array:
        """(B,) indices of a batch."""
        number = epoch * self.steps + step
        return shuffled(self.seed, number=number, batch=self.size, count=len(self.pictures))

    def _one(self, order: Array, place: int, epoch: int, step: int) -> tuple[Tensor, int]:
        index = int(order[place])
        image, index = self._readable(index)
        rng = generator(self.seed, epoch, step, 1 + place)
        return augment(image, self.augmentations, rng), int(self.pictures.targets[index])

    def _readable(self, index: int) -> tuple[Tensor, int]:
        """The picture, or the next one that can be read."""
        for ahead in range(len(self.pictures)):
            other = (index + ahead) % len(self.pictures)
            if other in self.bad:
                continue
            image = _read(self.pictures, other, self.on_bad_image, self.bad)
            if image is not None:
                return image, other
        raise UserError("no training image can be read", where="data")

    def _shares(self, target: int) -> Tensor:
        return nn.functional.one_hot(torch.tensor(target), len(self.pictures.labels)).float()


class OrderedImages:
    """Every picture exactly once, in order and unchanged; the last batch may be smaller, or a share empty."""

    def __init__(self, pictures: Pictures, *, batch: int, on_bad_image: BadImage = "stop") -> None:
        self.pictures, self.size, self.on_bad_image = pictures, batch, on_bad_image
        self.bad: set[int] = set()

    def __len__(self) -> int:
        return -(-len(self.pictures) // self.size)

    def batch(self, epoch: int, step: int, *, rank: int = 0, world: int = 1) -> Batch:
        """See Batches.batch."""
        images, targets = [], []
        for index in in_order(step, batch=self.size, count=len(self.pictures), rank=rank, world=world):
            image = None if index in self.bad else _read(self.pictures, index, self.on_bad_image, self.bad)
            if image is not None:
                images.append(image)
                targets.append(int(self.pictures.targets[index]))
        shape = (0, self.pictures.channels, *self.pictures.size)
        return torch.stack(images) if images else torch.zeros(shape), torch.tensor(targets, dtype=torch.int64)

    def names(self, epoch: int, step: int, *, rank: int = 0, world: int = 1) -> list[str]:
        """The ids of a batch's items."""
        return [item.id for item in self.pictures.items[step * self.size : (step + 1) * self.size][rank::world]]


def _read(pictures: Pictures, index: int, on_bad_image: BadImage, bad: set[int]) -> Tensor | None:
    try:
        return pictures.picture(index)
    except UserError as error:
        if on_bad_image == "stop":
            raise
        bad.add(index)
        log.warning("left out: %s", error)
        return None
