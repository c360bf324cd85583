"""Random changes to a picture that move its boxes with it. Knows the changes of `augment` and arrays.

Boxes are float32 (N, 4), x0, y0, x1, y1, half-open, in pixels of the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from medzoo.errors import UserError
from medzoo.training.augment import Affine, Augmentation, Flip
from medzoo.training.blobs import Blobs
from medzoo.training.lesion_paste import Lesion, LesionPaste
from medzoo.types import Array

# Less of an object than this share of its box is no longer that object.
VISIBLE = 0.4


def check_changes(changes: Sequence[Augmentation]) -> None:
    """Raises UserError for a change after which boxes would no longer be tight."""
    for number, change in enumerate(changes):
        if isinstance(change, Affine) and change.rotate:
            raise UserError(
                "boxes cannot be turned: the box of a turned box is looser than the object",
                where=f"train.augment[{number}].rotate",
                hint="set rotate: 0",
            )


def augment_boxes(
    image: Tensor,
    boxes: Array,
    labels: Array,
    changes: Sequence[Augmentation],
    rng: np.random.Generator,
    *,
    lesions: Callable[[np.random.Generator], Sequence[Lesion]] = lambda rng: (),
) -> tuple[Tensor, Array, Array]:
    """`image` (C, H, W) after each change in order, the boxes (N, 4) left or added, and their labels (N,).

    Boxes are clipped to the picture at the end; of one that leaves it, less than 40 % left means it is dropped.
    `lesions` draws what `lesion-paste` may put into the picture, as they lie in another one.
    """
    moved, labels = boxes.astype(np.float64).reshape(-1, 4), labels.astype(np.int64)
    height, width = image.shape[1:]
    for change in changes:
        if rng.random() >= change.share:
            continue
        if isinstance(change, Affine):
            theta = change.draw(image, rng)
            image, moved = change.warp(image, theta), _warped(moved, theta, width, height)
        elif isinstance(change, Blobs):
            image, added = change.add(image, moved, rng)
            moved = np.concatenate([moved, added])
            labels = np.concatenate([labels, np.zeros(len(added), np.int64)])
        elif isinstance(change, LesionPaste):
            for lesion in list(lesions(rng))[: change.count]:
                image, box = change.put(image, moved, lesion, rng)
                if box is not None:
                    moved, labels = np.concatenate([moved, box[None]]), np.append(labels, lesion.label)
        else:
            image = change.apply(image, rng)
        if isinstance(change, Flip):
            low, high, side = (0, 2, width) if change.axis == "x" else (1, 3, height)
            moved[:, [low, high]] = side - moved[:, [high, low]]
    clipped = np.clip(moved, 0, [width, height, width, height])
    left, whole = _area(clipped), _area(moved)
    kept = np.flatnonzero((left >= VISIBLE * whole) & (left >= 1))
    return image, clipped[kept].astype(np.float32), labels[kept]


def _warped(boxes: Array, theta: Array, width: int, height: int) -> Array:
    """Boxes after a change without a turn; `theta` as `Affine.draw` gives it."""
    sides = np.array([width, height, width, height], float)
    scale, shift = np.tile(np.diag(theta[:, :2]), 2), np.tile(theta[:, 2], 2)
    warped: Array = ((2 * boxes / sides - 1 - shift) / scale + 1) / 2 * sides
    return warped


def _area(boxes: Array) -> Array:
    area: Array = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return area
