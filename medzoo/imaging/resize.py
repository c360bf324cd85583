"""Resize arrays, pictures and regions of pictures."""

from __future__ import annotations

import numpy as np

from medzoo.types import Array


def stretch(field: Array, shape: tuple[int, ...]) -> Array:
    """Resize `field` to `shape` by linear interpolation along each axis, corners aligned; float32.

    Not as products of matrices: how a machine adds those up depends on its threads, and a scan must not.
    """
    field = np.ascontiguousarray(field, np.float32)
    # The last axis first: what is copied into its place is still small.
    for axis in reversed(range(field.ndim)):
        old, new = field.shape[axis], shape[axis]
        place = np.linspace(0, old - 1, new)
        low = np.minimum(place.astype(np.intp), max(old - 2, 0))
        share = (place - low).astype(np.float32).reshape(-1, *[1] * (field.ndim - 1 - axis))
        found = field.take(low, axis=axis)
        found *= 1 - share
        other = field.take(np.minimum(low + 1, old - 1), axis=axis)
        other *= share
        found += other
        field = found
    return field


def warp_regions(picture: Array, boxes: Array, *, size: tuple[int, int], context: float) -> Array:
    """Warp the contents of boxes (R, 4) of a picture (C, H, W) to (R, C, *size) float32; the aspect ratio is lost.

    The box ends `context` pixels before the edges of the result on every side, around it lies what is around the
    box in the picture (Girshick et al., CVPR 2014, appendix A); what lies beyond the picture is its mean. A pixel
    of the result is the mean over its own area in the picture, or over one pixel where that is larger: nothing
    aliases, and enlarged regions are bilinear.
    """
    picture = np.asarray(picture, np.float32)
    channels, height, width = picture.shape
    mean = picture.mean(axis=(1, 2))
    regions = np.empty((len(boxes), channels, *size), np.float32)
    for region, (x0, y0, x1, y1) in zip(regions, np.asarray(boxes, np.float64), strict=True):
        first_row, rows = _weights(y0, y1, size=size[0], context=context, length=height)
        first_column, columns = _weights(x0, x1, size=size[1], context=context, length=width)
        seen = picture[:, first_row : first_row + rows.shape[1], first_column : first_column + columns.shape[1]]
        inside = rows.sum(axis=1)[:, None] * columns.sum(axis=1)[None]
        region[:] = rows @ seen @ columns.T + (1 - inside) * mean[:, None, None]
    return regions


def on_size(picture: Array, size: tuple[int, int]) -> Array:
    """A picture (C, H, W) as (C, *size) float32, each pixel the mean over its area; a few rows at a time, so that
    a huge picture is never held in float."""
    height, width = picture.shape[1:]
    _, columns = _weights(0, width, size=size[1], context=0, length=width)
    _, rows = _weights(0, height, size=size[0], context=0, length=height)
    resized = np.empty((len(picture), *size), np.float32)
    for place, row in enumerate(rows):
        used = np.flatnonzero(row)
        part = slice(used[0], used[-1] + 1)
        for channel, seen in enumerate(picture):
            resized[channel, place] = columns @ (row[part] @ seen[part].astype(np.float32)) / row.sum()
    covered: Array = resized / columns.sum(axis=1)
    return covered


def _weights(low: float, high: float, *, size: int, context: float, length: int) -> tuple[int, Array]:
    """The first pixel of an axis that counts, and (size, n) float32: how much each pixel from there on counts."""
    step = (high - low) / (size - 2 * context)
    middle = low + (np.arange(size) - context + 0.5) * step
    half = max(step, 1.0) / 2
    first = min(max(0, int(np.floor(middle[0] - half))), length - 1)
    last = min(max(first + 1, int(np.ceil(middle[-1] + half))), length)
    pixels = np.arange(first, last)
    shared = np.minimum(middle[:, None] + half, pixels + 1) - np.maximum(middle[:, None] - half, pixels)
    return first, (np.clip(shared, 0, None) / (2 * half)).astype(np.float32)
