"""Pictures with the regions that a host step proposes on them: windows of all of them, or one picture after another.

Proposals are kept on disk by the picture's bytes and the step's options (medzoo.io.cache), so they are searched once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from medzoo.augment.augmentation import Augmentation, augment, check_augmentations
from medzoo.boxes import box_iou
from medzoo.data.dataset import Dataset, IgnoredObjects, Item, Objects
from medzoo.errors import UserError
from medzoo.inputs.batches import Batch, generator
from medzoo.inputs.scenes import ignored_target
from medzoo.io.cache import cached
from medzoo.io.channels import to_channels
from medzoo.preprocess.host.selective_search import SelectiveSearch
from medzoo.preprocess.step import HostStep
from medzoo.preprocess.steps import apply_steps
from medzoo.types import Array

log = logging.getLogger("medzoo.training")
_CHANGED = 1  # counts up when what is proposed changes, so that nothing older is read from disk


@dataclass(frozen=True, eq=False)
class Proposals:
    """A picture (C, H, W) float32 on the grid of its proposals `boxes` (R, 4), its `objects` (M, 4), `labels` (M,), and
    the objects that do not count."""

    picture: Array
    boxes: Array
    objects: Array
    labels: Array
    ignored: IgnoredObjects | None = None


class ProposedPictures:
    """`Proposals` of every item, searched when first asked for. The last of the host steps must propose.

    `on_bad_image` "skip" leaves pictures out that cannot be read. Raises UserError where no step proposes.
    """

    def __init__(
        self,
        data: Dataset,
        items: Sequence[Item],
        steps: Sequence[HostStep],
        *,
        channels: int,
        on_bad_image: Literal["stop", "skip"] = "stop",
        watch: Callable[[Iterable[Item]], Iterable[Item]] = iter,
    ) -> None:
        if not steps or not isinstance(steps[-1], SelectiveSearch):
            raise UserError(
                "the model takes regions, but the last host step does not propose any",
                where="preprocess.host",
                hint="end it with {op: selective-search}",
            )
        self.data, self.items, self.channels = data, items, channels
        self.before, self.step = steps[:-1], steps[-1]
        self.on_bad_image, self.watch = on_bad_image, watch
        self._all: list[Proposals] | None = None
        self._ids: list[str] = []

    @property
    def all(self) -> list[Proposals]:
        """Of every item that can be read, in their order."""
        if self._all is None:
            self._all = []
            for item in self.watch(self.items):
                try:
                    found = self._of(item)
                except UserError as error:
                    if self.on_bad_image == "stop":
                        raise
                    log.warning("left out: %s", error)
                    continue
                self._all.append(found)
                self._ids.append(item.id)
        return self._all

    @property
    def ids(self) -> list[str]:
        """The items' ids, in the order of `all`."""
        return self._ids if self.all else []

    def windows(self, proposals: Proposals, boxes: Array) -> Tensor:
        """(R, C, h, w) of boxes (R, 4) on the picture's grid."""
        return torch.from_numpy(self.step.warp(proposals.picture, boxes))

    def _of(self, item: Item) -> Proposals:
        sample = self.data.load(item)
        assert isinstance(sample.target, Objects)
        state = apply_steps(to_channels(sample.image, self.channels), self.before)
        picture, transform = self.step.on_grid(state.image, state.transform)
        path = item.files.get("image")
        if path is None:
            boxes = self.step.search(picture)
        else:
            done = [*(s.model_dump() for s in self.before), self.step.model_dump(exclude={"size", "context"})]
            key = f"proposals {_CHANGED} {done} {self.channels}"
            boxes = np.array(cached(path, key, lambda: self.step.search(picture)))
        height, width = picture.shape[1:]
        objects = transform.boxes_from_source(sample.target.boxes).reshape(-1, 4)
        objects = np.clip(objects, 0, [width, height, width, height]).astype(np.float32)
        inside = (objects[:, 2:] > objects[:, :2]).all(axis=1)
        beside = sample.target.ignored
        if beside is not None:
            beside = replace(beside, boxes=transform.boxes_from_source(beside.boxes).reshape(-1, 4))
        return Proposals(picture, boxes, objects[inside], sample.target.labels[inside].astype(np.int64), beside)


class WindowBatches:
    """Fine-tuning batches: windows (N, C, h, w) float32 and classes (N,) int64, of which `classes` is background.

    Objects themselves are among the windows. Those with an object are drawn with equal chances for every class.
    Raises UserError where no training picture has an object, or all of every picture is one.
    """

    def __init__(
        self,
        pictures: ProposedPictures,
        *,
        positive: float,
        positive_share: float,
        classes: int,
        batch: int,
        steps: int,
        seed: int,
        augmentations: Sequence[Augmentation] = (),
    ) -> None:
        check_augmentations(augmentations, boxes=False)
        self.pictures, self.size, self.steps, self.seed = pictures, batch, steps, seed
        self.augmentations, self.classes = augmentations, classes
        self.positives = max(1, round(batch * positive_share))
        owners, boxes, kinds = [], [], []
        for number, one in enumerate(pictures.all):
            mine = np.concatenate([one.objects, one.boxes])
            fits = box_iou(mine, one.objects) if len(one.objects) else np.zeros((len(mine), 1))
            hit = fits.max(axis=1) >= positive
            labels = one.labels[fits.argmax(axis=1)] if len(one.objects) else np.zeros(len(mine), np.int64)
            kinds.append(np.where(hit, labels, classes))
            boxes.append(mine)
            owners.append(np.full(len(mine), number))
        self._owners, self._boxes, self._kinds = (np.concatenate(rows) for rows in (owners, boxes, kinds))
        self._of_class = [np.flatnonzero(self._kinds == k) for k in range(classes + 1)]
        self._present = [k for k in range(classes) if len(self._of_class[k])]
        if not self._present or not len(self._of_class[-1]):
            what = "hold any object" if not self._present else "leave any background"
            raise UserError(f"none of the regions of {len(pictures.all)} pictures {what}", where="data")

    def __len__(self) -> int:
        return self.steps

    def batch(self, epoch: int, step: int, *, rank: int = 0, world: int = 1) -> Batch:
        """See Batches.batch."""
        chosen = self._drawn(epoch, step)
        windows = []
        for place in range(self.size)[rank::world]:
            index = chosen[place]
            one = self.pictures.all[int(self._owners[index])]
            window = self.pictures.windows(one, self._boxes[index : index + 1])[0]
            windows.append(augment(window, self.augmentations, generator(self.seed, epoch, step, 1 + place)))
        return torch.stack(windows), torch.from_numpy(self._kinds[chosen[rank::world]])

    def names(self, epoch: int, step: int, *, rank: int = 0, world: int = 1) -> list[str]:
        """The ids of the pictures that a batch's windows are cut from."""
        owners = self._owners[self._drawn(epoch, step)[rank::world]]
        return sorted({self.pictures.ids[int(owner)] for owner in owners})

    def _drawn(self, epoch: int, step: int) -> Array:
        rng = generator(self.seed, epoch, step)
        kinds = rng.permutation(np.resize(np.asarray(self._present), self.positives))
        objects = [rng.choice(self._of_class[kind]) for kind in kinds]
        drawn: Array = np.concatenate([objects, rng.choice(self._of_class[-1], self.size - self.positives)])
        return drawn.astype(np.int64)


class WholePictures:
    """One picture a batch, in order: ((regions (1, R, C, h, w), boxes (1, R, 4)), [{boxes, labels, windows}])."""

    def __init__(self, pictures: ProposedPictures) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures.all)

    def batch(self, epoch: int, step: int, *, rank: int = 0, world: int = 1) -> Batch:
        """See Batches.batch."""
        one = self.pictures.all[step]
        boxes = one.boxes if len(one.boxes) else np.zeros((1, 4), np.float32)
        target: dict[str, Any] = {
            "boxes": torch.from_numpy(one.objects),
            "labels": torch.from_numpy(one.labels),
            "windows": self.pictures.windows(one, one.objects),
            **ignored_target(one.ignored),
        }
        return (self.pictures.windows(one, boxes)[None], torch.from_numpy(boxes)[None]), [target]
