"""The base of every augmentation: a random change of a training image that moves its boxes or label map with it.

An augmentation is a pydantic model whose fields are its options in `train.augment`, in a file of its name in
`medzoo/augment/ops/` that ends with `ENTRY = TheAugmentation`; a package of its own registers it as an entry point
under `medzoo.augmentations`. Images are float32 (C, H, W), or (C, I, J, K) for those that name 3 in `dims`, of values
after the host steps. All random numbers come from the generator
that is handed in, so that a batch stays a function of (seed, epoch, step). Brightness and noise are relative to the
image's own spread, so that 8-bit and 16-bit images take the same numbers. Exact zeros beside the image (where it does
not cover the canvas) stay zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from medzoo.data.instances import renumber_layers
from medzoo.errors import UserError
from medzoo.types import Array

Share = Annotated[float, Field(ge=0, le=1)]
OUTSIDE = 255
"""The label of a voxel outside the image; also what label maps call a voxel that is not scored."""
VISIBLE = 0.4
"""An object of whose box less than this share is left in the image is dropped."""


@dataclass(frozen=True, eq=False)
class Lesion:
    """One object cut out of its image: `image` (C, h, w) with some of its surroundings, `mask` (h, w) bool, the
    object's class, and the (y, x) at which the cut-out lay."""

    image: Tensor
    mask: Array
    label: int
    corner: tuple[int, int]


Donors = Callable[[np.random.Generator], Sequence[Lesion]]
"""Draws lesions of another training image."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """An image (C, H, W) with `boxes` (N, 4) float64 x0, y0, x1, y1 in its pixels, half open, and `labels` (N,).

    `masks`: outlines of the objects as layers (L, H, W) of numbers (medzoo.data.instances); None of data without.
    """

    image: Tensor
    boxes: Array
    labels: Array
    masks: Array | None = None

    def with_objects(self, image: Tensor, boxes: Array, labels: Array) -> Labelled:
        """`image` with further boxes (M, 4) and their labels (M,)."""
        return Labelled(image, np.concatenate([self.boxes, boxes]), np.concatenate([self.labels, labels]))


class Augmentation(BaseModel):
    """One random change; `share` of the images are changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    adds_objects: ClassVar[bool] = False
    """It puts new objects into the image, so it needs a model that takes images with boxes."""
    needs_outlines: ClassVar[bool] = False
    """It cuts objects out of other images, so it needs data with masks."""
    dims: ClassVar[tuple[int, ...]] = (2,)
    """Numbers of spatial axes that it takes: 2 for pictures and slices, 3 for volumes."""
    op: str
    share: Share = Field(1.0, description="share of the pictures that are changed")

    def apply(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """The changed image."""
        raise TypeError(f"{type(self).__name__} does not define apply")

    def apply_labelled(self, sample: Labelled, rng: np.random.Generator, *, donors: Donors) -> Labelled:
        """The changed image with its boxes and masks; where nothing moves, only the image changes."""
        return replace(sample, image=self.apply(sample.image, rng))

    def apply_with_labels(self, image: Tensor, labels: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """The changed image (C, *spatial) with its label map uint8 (*spatial); where nothing moves, only the image
        changes. Voxels that come from outside the image get the label OUTSIDE, which no loss scores."""
        return self.apply(image, rng), labels

    def check_boxes(self, where: str) -> None:
        """Raise UserError if boxes would no longer be tight after this change; not asked where masks give the boxes."""

    def check_label_maps(self, where: str, *, dims: int) -> None:
        """Raise UserError if this change does not take images of `dims` axes with label maps."""
        if dims not in self.dims:
            kind = "volumes" if dims == 3 else "pictures and slices"
            raise UserError(f"{self.op} does not take {kind}", where=where, hint=f"leave {self.op} out")
        kind_of = type(self)
        moves_boxes = kind_of.apply_labelled is not Augmentation.apply_labelled
        if self.adds_objects or (moves_boxes and kind_of.apply_with_labels is Augmentation.apply_with_labels):
            raise UserError(f"{self.op} does not change label maps with the image", where, f"leave {self.op} out")


def check_augmentations(augmentations: Sequence[Augmentation], *, boxes: bool, masks: bool = False) -> None:
    """Raise UserError for an augmentation that does not suit images with (`boxes`) or without boxes, or boxes that
    follow from `masks`."""
    for number, one in enumerate(augmentations):
        where = f"train.augment[{number}]"
        if masks:
            if one.adds_objects:
                way = f"leave {one.op} out, or model.mask"
                raise UserError(f"{one.op} adds objects that have no mask to learn from", where=where, hint=way)
        elif boxes:
            one.check_boxes(where)
        elif one.adds_objects:
            raise UserError(
                f"{one.op} adds objects to whole images with boxes, which this model does not take",
                where=where,
                hint=f"leave {one.op} out",
            )


def check_label_maps(augmentations: Sequence[Augmentation], *, dims: int) -> None:
    """Raise UserError for an augmentation that does not suit images of `dims` axes with label maps."""
    for number, one in enumerate(augmentations):
        one.check_label_maps(f"train.augment[{number}]", dims=dims)


def augment_with_labels(
    image: Tensor, labels: Tensor, augmentations: Sequence[Augmentation], rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """`image` (C, *spatial) and its label map uint8 (*spatial) after each augmentation, in order."""
    for one in augmentations:
        if rng.random() < one.share:
            image, labels = one.apply_with_labels(image, labels, rng)
    return image, labels


def augment(image: Tensor, augmentations: Sequence[Augmentation], rng: np.random.Generator) -> Tensor:
    """`image` (C, H, W) after each augmentation, in order."""
    for one in augmentations:
        if rng.random() < one.share:
            image = one.apply(image, rng)
    return image


def augment_labelled(
    image: Tensor,
    boxes: Array,
    labels: Array,
    augmentations: Sequence[Augmentation],
    rng: np.random.Generator,
    *,
    masks: Array | None = None,
    donors: Donors = lambda rng: (),
) -> Labelled:
    """`image` (C, H, W) after each augmentation in order, the boxes (N, 4) float32 left or added, and their labels.

    Boxes are clipped to the image at the end; one of which less than 40 % is left is dropped. With `masks`, layers
    (L, H, W), the boxes of what moved are those of the masks.
    """
    sample = Labelled(image, boxes.astype(np.float64).reshape(-1, 4), labels.astype(np.int64), masks)
    height, width = image.shape[1:]
    for one in augmentations:
        if rng.random() < one.share:
            sample = one.apply_labelled(sample, rng, donors=donors)
    clipped = np.clip(sample.boxes, 0, [width, height, width, height])
    left, whole = _area(clipped), _area(sample.boxes)
    kept = np.flatnonzero((left >= VISIBLE * whole) & (left >= 1))
    moved = None if sample.masks is None else renumber_layers(sample.masks, kept, len(sample.boxes))
    return Labelled(sample.image, clipped[kept].astype(np.float32), sample.labels[kept], moved)


def _area(boxes: Array) -> Array:
    area: Array = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return area
