"""Boxes as targets: made from masks, and checked before anything trains on them. Arrays only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medzoo.data.dataset import Objects
from medzoo.errors import UserError
from medzoo.types import Array


def mask_box(mask: Array) -> Array | None:
    """The half-open box (2n,) of the largest connected part of a mask (H, W) or (I, J, K); None if empty.

    Pixels that touch at a corner are connected. A picture's box is x0, y0, x1, y1, a volume's lows, highs.
    """
    boxes = component_boxes(mask)
    return boxes[0] if len(boxes) else None


def component_boxes(mask: Array, *, smallest: int = 1) -> Array:
    """(N, 2n) float32 boxes of the connected parts of a mask with at least `smallest` pixels, largest first."""
    from scipy.ndimage import find_objects, label

    numbers, _ = label(mask > 0, np.ones((3,) * mask.ndim))
    sizes = np.bincount(numbers.ravel())[1:]
    places = find_objects(numbers)
    order = [k for k in np.argsort(-sizes, kind="stable") if sizes[k] >= smallest]
    boxes = [[s.start for s in axes] + [s.stop for s in axes] for axes in (_in_order(places[k]) for k in order)]
    return np.array(boxes, np.float32).reshape(-1, 2 * mask.ndim)


def _in_order(place: tuple[slice, ...]) -> tuple[slice, ...]:
    return place[::-1] if len(place) == 2 else place


def checked_objects(
    boxes: Sequence[Sequence[float]], labels: Sequence[int], shape: tuple[int, ...], where: str
) -> Objects:
    """`Objects` of boxes on an image of spatial `shape`.

    Raises UserError that names `where` for a box that is inverted, empty, not finite, or beyond the image.
    """
    n = len(shape)
    array = np.asarray(boxes, np.float64).reshape(-1, 2 * n)
    limit = np.array(shape[::-1] if n == 2 else shape, float)
    for number, box in enumerate(array, 1):
        text = f"box {number} [{', '.join(f'{v:g}' for v in box)}]"
        if not np.isfinite(box).all():
            raise UserError(f"{text} is not finite", where)
        if (box[n:] < box[:n]).any():
            raise UserError(f"{text} is inverted", where, "the low corner comes first")
        if (box[n:] == box[:n]).any():
            raise UserError(f"{text} is empty", where)
        if (box[:n] < 0).any() or (box[n:] > limit).any():
            size = " x ".join(f"{v:g}" for v in limit)
            raise UserError(f"{text} reaches beyond the image of {size}", where)
    return Objects(array.astype(np.float32), np.asarray(labels, np.int64).reshape(-1))
