"""Boxes as targets: made from masks, and checked before anything trains on them. Arrays only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from medzoo.data.dataset import Objects
from medzoo.errors import UserError
from medzoo.types import Array

ROUNDING = 1.0  # pixels or voxels by which a box may reach beyond its image


def mask_box(mask: Array) -> Array | None:
    """The half-open box (2n,) of the largest connected part of a mask (H, W) or (I, J, K); None if empty.

    Pixels that touch at a corner are connected. A picture's box is x0, y0, x1, y1, a volume's lows, highs.
    """
    boxes = component_boxes(mask)
    return boxes[0] if len(boxes) else None


def component_boxes(mask: Array, *, smallest: int = 1) -> Array:
    """(N, 2n) float32 boxes of the connected parts of a mask with at least `smallest` pixels, largest first."""
    places = (_in_order(place) for place, _ in component_parts(mask, smallest=smallest))
    boxes = [[s.start for s in axes] + [s.stop for s in axes] for axes in places]
    return np.array(boxes, np.float32).reshape(-1, 2 * mask.ndim)


def component_parts(mask: Array, *, smallest: int = 1) -> list[tuple[tuple[slice, ...], Array]]:
    """As `component_boxes`, the block that holds each part, and the part's own mask in it."""
    from scipy.ndimage import find_objects, label

    numbers, _ = label(mask > 0, np.ones((3,) * mask.ndim))
    sizes = np.bincount(numbers.ravel())[1:]
    places = find_objects(numbers)
    order = [int(k) for k in np.argsort(-sizes, kind="stable") if sizes[k] >= smallest]
    return [(places[k], numbers[places[k]] == k + 1) for k in order]


def _in_order(place: tuple[slice, ...]) -> tuple[slice, ...]:
    return place[::-1] if len(place) == 2 else place


def checked_objects(
    boxes: Sequence[Sequence[float]],
    labels: Sequence[int],
    shape: tuple[int, ...],
    where: str,
    *,
    clip: bool = False,
    hint: str | None = None,
    masks: Callable[[Array], Array] | None = None,
) -> Objects:
    """`Objects` of boxes on an image of spatial `shape`.

    Boxes that reach at most a pixel beyond the image, as rounding makes them, are cut to it and counted; with `clip`
    all that reach beyond, and those of which nothing is left are dropped and counted. `masks` reads the layers
    (medzoo.data.instances) of the boxes whose indices it is given. Raises UserError that names
    `where` for a box that is inverted, empty, not finite, or beyond the image, which `hint` is a way out of.
    """
    n = len(shape)
    array = np.asarray(boxes, np.float64).reshape(-1, 2 * n)
    limit = np.array(shape[::-1] if n == 2 else shape, float)
    cut = np.clip(array, 0, np.tile(limit, 2))
    outside: Array = np.any((array[:, :n] < -1e-6) | (array[:, n:] > limit + 1e-6), axis=1)
    empty: Array = np.any(cut[:, n:] <= cut[:, :n], axis=1)
    for number, box in enumerate(array, 1):
        text = f"box {number} [{', '.join(f'{v:g}' for v in box)}]"
        if not np.isfinite(box).all():
            raise UserError(f"{text} is not finite", where)
        if (box[n:] < box[:n]).any():
            raise UserError(f"{text} is inverted", where, "give the low corner first")
        if (box[n:] == box[:n]).any():
            raise UserError(f"{text} is empty", where)
        beyond = max(float(-box[:n].min()), float((box[n:] - limit).max()))
        if not clip and (beyond > ROUNDING or (outside[number - 1] and empty[number - 1])):
            size = " x ".join(f"{v:g}" for v in limit)
            raise UserError(f"{text} extends beyond the image of {size}", where, hint)
    kept = ~empty
    return Objects(
        cut[kept].astype(np.float32),
        np.asarray(labels, np.int64).reshape(-1)[kept],
        clipped=int((outside & kept).sum()),
        dropped=int(empty.sum()),
        masks=None if masks is None else partial(masks, np.flatnonzero(kept)),
    )
