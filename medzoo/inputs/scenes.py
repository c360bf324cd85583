"""Whole pictures with the boxes of their objects: shuffled and changed for training, in order for validation.

Pictures without any object are fed as they are: all of them is background.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from medzoo.augment.augmentation import Augmentation, Labelled, Lesion, augment_labelled, check_augmentations
from medzoo.augment.ops.lesion_paste import cut_out
from medzoo.data.dataset import Dataset, IgnoredObjects, Item, Objects
from medzoo.data.instances import NUMBER, renumber_layers
from medzoo.errors import UserError
from medzoo.inputs.batches import Batch, generator, in_order, shuffled
from medzoo.inputs.canvas import fit_canvas, fitted_size
from medzoo.inputs.shards import Shards
from medzoo.io.channels import to_channels
from medzoo.preprocess.step import HostStep
from medzoo.preprocess.steps import apply_steps
from medzoo.types import Array, GridTransform

LIMIT = 512 << 20  # bytes of pictures that one process holds in memory
log = logging.getLogger("medzoo.training")
_DONORS = 8  # pictures that are asked for a lesion before there is none


@dataclass(frozen=True, eq=False)
class Scene:
    """A prepared picture (C, H, W) as stored, and its objects in that picture's own pixels.

    `mask` (H, W) bool: their outlines, of data that have them and where somebody asked for them. `layers` (L, H, W):
    the outline of each (medzoo.data.instances), for a model that learns masks. `ignored`: objects that do not count.
    """

    array: Array
    boxes: Array
    labels: Array
    mask: Array | None = None
    layers: Array | None = None
    ignored: IgnoredObjects | None = None


class ScenePictures:
    """Scenes by index, fitted into `size` as the graph would fit them; read once and kept, in memory up to `limit`
    bytes.

    A kept picture is the smaller of the stored one (uint8, mostly) and the fitted one, never rounded. `outlines`:
    keep the outlines too, for lesions that are put into other pictures.
    """

    keeps = True
    """Whether pictures are worth keeping; not where they are made from something that is kept itself."""
    outlines = False

    def __init__(
        self,
        data: Dataset,
        items: Sequence[Item],
        steps: Sequence[HostStep],
        *,
        channels: int,
        size: tuple[int, int],
        masks: bool = False,
        limit: int = LIMIT,
    ) -> None:
        self.data, self.items, self.steps = data, items, steps
        self.channels, self.size, self.learns_masks = channels, size, masks
        self._kept = Shards(len(items), limit=limit)
        self._masks = Shards(len(items), limit=limit // 4)
        self._layers = Shards(len(items), limit=limit // 2)
        self._objects: dict[int, tuple[Array, Array]] = {}
        self._ignored: dict[int, IgnoredObjects] = {}

    def __len__(self) -> int:
        return len(self.items)

    def scene(self, index: int) -> Labelled:
        """Picture (C, *size) float32, boxes (N, 4) float32 in its pixels, labels (N,), and masks where they are learnt.

        Raises UserError that names the file if it cannot be read or its boxes are impossible.
        """
        scene = self._known(index)
        image, boxes = self._fit(scene)
        return Labelled(image, boxes, scene.labels, None if scene.layers is None else self._fit_layers(scene))

    def ignored(self, index: int) -> IgnoredObjects | None:
        """The objects of a picture that do not count, as `scene` gives it; known once that was called."""
        return self._ignored.get(index)

    def lesions(self, index: int) -> list[Lesion]:
        """The objects of a picture that have an outline, cut out of it as `scene` gives it.

        Raises UserError that names the file where it has objects and no outlines.
        """
        scene = self._known(index)
        if not len(scene.boxes):
            return []
        if scene.mask is None:
            item = self.items[index]
            raise UserError(
                "has boxes but no outlines, so no lesion can be cut out of it",
                where=str(next(iter(item.files.values()), item.id)),
                hint="leave lesion-paste out of train.augment",
            )
        image, boxes = self._fit(scene)
        return cut_out(image, self._fit_mask(scene.mask), boxes, scene.labels)

    def _known(self, index: int) -> Scene:
        """A scene as it is kept, or read anew and kept where there is room."""
        array, mask, layers = self._kept.get(index), self._masks.get(index), self._layers.get(index)
        whole = (mask is not None or not self.outlines) and (layers is not None or not self.learns_masks)
        if array is not None and whole:
            return Scene(array, *self._objects[index], mask, layers)
        scene = self.stored(index)
        image, boxes = self._fit(scene)
        if scene.ignored is not None and len(scene.ignored.boxes):
            beside = self._fit(replace(scene, boxes=scene.ignored.boxes))[1]
            self._ignored[index] = replace(scene.ignored, boxes=beside)
        if image.numel() * 4 < scene.array.nbytes:
            mask = None if scene.mask is None else self._fit_mask(scene.mask)
            layers = None if scene.layers is None else self._fit_layers(scene)
            scene = Scene(image.numpy(), boxes, scene.labels, mask, layers)
        if self.keeps:
            self._objects[index] = scene.boxes, scene.labels
            if scene.mask is not None:
                self._masks.put(index, scene.mask)
            if scene.layers is not None:
                self._layers.put(index, scene.layers)
            self._kept.put(index, scene.array)
        return scene

    def stored(self, index: int) -> Scene:
        """The picture after the host steps in its own size, and its objects there; read anew."""
        item = self.items[index]
        sample = self.data.load(item)
        where = str(next(iter(item.files.values()), item.id))
        assert isinstance(sample.target, Objects)
        state = apply_steps(to_channels(sample.image, self.channels), self.steps)
        image, transform = state.image, state.transform
        array = np.ascontiguousarray(image.array)
        if array.ndim != 3:
            raise UserError("is not a picture", where=where)
        boxes = transform.boxes_from_source(sample.target.boxes)
        height, width = array.shape[1:]
        boxes = np.clip(boxes, 0, [width, height, width, height]).astype(np.float32)
        # A host step may crop the picture; what it left outside is no object any more.
        inside: Array = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
        mask = None
        if self.outlines and sample.mask is not None:
            mask = transform.mask_from_source(sample.mask.astype(np.uint8)) > 0
        layers = self._read_layers(sample.target, transform, inside, where) if self.learns_masks else None
        beside = sample.target.ignored
        if beside is not None:
            beside = replace(beside, boxes=transform.boxes_from_source(beside.boxes).astype(np.float32).reshape(-1, 4))
        return Scene(array, boxes[inside], sample.target.labels[inside], mask, layers, beside)

    @staticmethod
    def _read_layers(target: Objects, transform: GridTransform, inside: Array, where: str) -> Array:
        """The masks of the objects `inside` (N,) on the prepared grid. Raises UserError where there are none."""
        if target.masks is None:
            if len(target.boxes):
                hint = "leave model.mask out, or take data with instance masks"
                raise UserError("has boxes but no masks, which the model learns", where=where, hint=hint)
            return np.zeros((1, *transform.shape), NUMBER)
        layers = np.stack([transform.mask_from_source(layer) for layer in target.masks()])
        return renumber_layers(layers, np.flatnonzero(inside), len(inside))

    def decode(self, *, on_bad_image: Literal["stop", "skip"]) -> None:
        """Read every picture now, for workers that branch off and share what is kept."""
        for index in range(len(self)):
            try:
                self.scene(index)
            except UserError:
                if on_bad_image == "stop":
                    raise

    def _fit(self, scene: Scene) -> tuple[Tensor, Array]:
        image = torch.from_numpy(scene.array.astype(np.float32))
        if tuple(image.shape[1:]) == self.size:
            return image, scene.boxes
        canvas, sizes = fit_canvas(image[None], *self.size)
        scale = (sizes[:2] / sizes[2:]).repeat(2).numpy()
        return canvas[0], scene.boxes * scale

    def _fit_layers(self, scene: Scene) -> Array:
        """The masks of a scene on the canvas: the nearest pixel, 0 beside the picture."""
        layers = scene.layers
        assert layers is not None
        if layers.shape[1:] == self.size:
            return layers
        height, width = layers.shape[1:]
        fitted = fitted_size((height, width), self.size)
        rows, columns = (
            np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)
            for new, old in zip(fitted, (height, width), strict=True)
        )
        canvas = np.zeros((len(layers), *self.size), layers.dtype)
        canvas[:, : fitted[0], : fitted[1]] = layers[:, rows[:, None], columns]
        return canvas

    def _fit_mask(self, mask: Array) -> Array:
        if mask.shape == self.size:
            return mask
        canvas, _ = fit_canvas(torch.from_numpy(mask.astype(np.float32))[None, None], *self.size)
        fitted: Array = (canvas[0, 0] >= 0.5).numpy()
        return fitted


class SceneBatches:
    """Training batches: images (B, C, *size) float32 and a list of {boxes (N, 4), labels (N,)}.

    With `part` images are what it leaves of the canvas before the augmentations, and `middle` after them
    (medzoo.inputs.parts). Batches are full (see `shuffled`). `on_bad_image` "skip" leaves a picture that cannot be
    read out, and feeds the next one instead.
    """

    def __init__(
        self,
        pictures: ScenePictures,
        *,
        batch: int,
        seed: int,
        steps: int | None = None,
        augmentations: Sequence[Augmentation] = (),
        on_bad_image: Literal["stop", "skip"] = "stop",
        part: Callable[[Labelled, np.random.Generator], Labelled] | None = None,
        middle: Callable[[Labelled], Labelled] | None = None,
    ) -> None:
        check_augmentations(augmentations, boxes=True, masks=pictures.learns_masks)
        pictures.outlines = any(one.needs_outlines for one in augmentations)
        self.pictures, self.size, self.seed = pictures, batch, seed
        self.steps = steps or -(-len(pictures) // batch)
        self.augmentations, self.on_bad_image = augmentations, on_bad_image
        self._part, self._middle = part, middle

    def __len__(self) -> int:
        return self.steps

    def batch(self, epoch: int, step: int, *, rank: int = 0, world: int = 1) -> Batch:
        """See Batches.batch."""
        order, images, targets = self._order(epoch, step), [], []
        for place in range(self.size)[rank::world]:
            scene = self._readable(int(order[place]))
            rng = generator(self.seed, epoch, step, 1 + place)
            if self._part is not None:
                scene = self._part(scene, rng)
            changed = augment_labelled(
                scene.image, scene.boxes, scene.labels, self.augmentations, rng, masks=scene.masks, donors=self._lesions
            )
            if self._middle is not None:
                changed = self._middle(changed)
            images.append(changed.image)
            targets.append(_target(changed))
        return torch.stack(images), targets

    def names(self, epoch: int, step: int, *, rank: int = 0, world: int = 1) -> list[str]:
        """The ids of a batch's items."""
        return [self.pictures.items[index].id for index in self._order(epoch, step)[rank::world]]

    def _order(self, epoch: int, step: int) -> Array:
        """(B,) indices of a batch."""
        number = epoch * self.steps + step
        return shuffled(self.seed, number=number, batch=self.size, count=len(self.pictures))

    def _lesions(self, rng: np.random.Generator) -> list[Lesion]:
        """The lesions, in random order, of a picture drawn at random: of the first few drawn that has any."""
        for _ in range(_DONORS):
            try:
                found = self.pictures.lesions(int(rng.integers(len(self.pictures))))
            except UserError:
                if self.on_bad_image == "stop":
                    raise
                continue
            if found:
                return [found[int(k)] for k in rng.permutation(len(found))]
        return []

    def _readable(self, index: int) -> Labelled:
        for ahead in range(len(self.pictures)):
            try:
                return self.pictures.scene((index + ahead) % len(self.pictures))
            except UserError as error:
                if self.on_bad_image == "stop":
                    raise
                log.warning("left out: %s", error)
        raise UserError("no training image can be read", where="data")


class OrderedScenes:
    """Every picture exactly once, in order and unchanged; the last batch may be smaller, or a share empty.

    `on_bad_image` "skip" leaves a picture that cannot be read out.
    """

    def __init__(self, pictures: ScenePictures, *, batch: int, on_bad_image: Literal["stop", "skip"] = "stop") -> None:
        self.pictures, self.size, self.on_bad_image = pictures, batch, on_bad_image
        self.bad: set[int] = set()

    def __len__(self) -> int:
        return -(-len(self.pictures) // self.size)

    def batch(self, epoch: int, step: int, *, rank: int = 0, world: int = 1) -> Batch:
        """See Batches.batch."""
        images, targets = [], []
        for index in in_order(step, batch=self.size, count=len(self.pictures), rank=rank, world=world):
            if index in self.bad:
                continue
            try:
                scene = self.pictures.scene(index)
            except UserError as error:
                if self.on_bad_image == "stop":
                    raise
                self.bad.add(index)
                log.warning("left out: %s", error)
                continue
            images.append(scene.image)
            targets.append(_target(scene) | ignored_target(self.pictures.ignored(index)))
        shape = (0, self.pictures.channels, *self.pictures.size)
        return torch.stack(images) if images else torch.zeros(shape), targets

    def names(self, epoch: int, step: int, *, rank: int = 0, world: int = 1) -> list[str]:
        """The ids of a batch's items."""
        return [item.id for item in self.pictures.items[step * self.size : (step + 1) * self.size][rank::world]]


def ignored_target(ignored: IgnoredObjects | None) -> dict[str, Tensor]:
    """The part of a validation target that tells of objects that do not count: {ignored_boxes, ignored_labels, crowd};
    empty without any."""
    if ignored is None or not len(ignored.boxes):
        return {}
    return {
        "ignored_boxes": torch.from_numpy(ignored.boxes.astype(np.float32)),
        "ignored_labels": torch.from_numpy(ignored.labels.astype(np.int64)),
        "crowd": torch.tensor(ignored.crowd),
    }


def _target(sample: Labelled) -> dict[str, Tensor]:
    target = {
        "boxes": torch.from_numpy(sample.boxes.astype(np.float32)),
        "labels": torch.from_numpy(sample.labels.astype(np.int64)),
    }
    if sample.masks is not None:
        target["masks"] = torch.from_numpy(sample.masks.astype(np.int32))
    return target
