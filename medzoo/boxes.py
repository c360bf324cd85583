"""Axis-aligned boxes: around a mask, their sizes, intersection and IoU.

Boxes are (N, 2n), lows then highs in continuous coordinates, as in medzoo.types: [x0, y0, x1, y1] on a picture,
[i0, j0, k0, i1, j1, k1] in a volume.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medzoo.types import Array


def bounding_box(mask: Array, *, margin: int | Sequence[int] = 0) -> tuple[slice, ...] | None:
    """The smallest block, as slices, that holds all nonzero values of `mask` (*spatial); None if there are none.

    `margin`: pixels by which it is widened on every side, one number for each axis or for all; it never reaches beyond
    the mask's grid.
    """
    margins = [margin] * mask.ndim if isinstance(margin, int) else margin
    block = []
    for axis, (length, more) in enumerate(zip(mask.shape, margins, strict=True)):
        nonzero = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        if not len(nonzero):
            return None
        block.append(slice(max(0, int(nonzero[0]) - more), min(length, int(nonzero[-1]) + 1 + more)))
    return tuple(block)


def mask_to_box(mask: Array) -> Array | None:
    """The box (2n,) float around all nonzero values of `mask` (*spatial); None if there are none."""
    block = bounding_box(mask)
    if block is None:
        return None
    axes = block[::-1] if mask.ndim == 2 else block
    return np.array([*(side.start for side in axes), *(side.stop for side in axes)], float)


def box_size(boxes: Array) -> Array:
    """Areas or volumes (N,) of boxes (N, 2n); 0 where a high lies below its low."""
    n = boxes.shape[1] // 2
    sizes: Array = np.prod(np.clip(boxes[:, n:] - boxes[:, :n], 0, None), axis=1)
    return sizes


def box_intersection(first: Array, second: Array) -> Array:
    """Areas or volumes (N, M) that boxes (N, 2n) and (M, 2n) share."""
    n = first.shape[1] // 2
    low = np.maximum(first[:, None, :n], second[None, :, :n])
    high = np.minimum(first[:, None, n:], second[None, :, n:])
    shared: Array = np.prod(np.clip(high - low, 0, None), axis=-1)
    return shared


def box_iou(first: Array, second: Array) -> Array:
    """Intersection over union (N, M) of boxes (N, 2n) and (M, 2n); 0 where both are empty."""
    shared = box_intersection(first, second)
    union = box_size(first)[:, None] + box_size(second)[None] - shared
    result: Array = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return result
