"""K-nearest-neighbour smoothing. Knows numpy and medzoo.errors."""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import Literal, get_args

import numpy as np

from medzoo.errors import UserError
from medzoo.types import Array

Border = Literal["reflect", "symmetric", "edge", "wrap"]
Ties = Literal["average", "raster"]

_TILE_BYTES = 1 << 18  # the planes of a tile and their scratch stay in the second-level cache


def knn_smooth(
    image: Array, *, size: int = 5, neighbours: int = 9, ties: Ties = "average", border: Border = "reflect"
) -> Array:
    """The mean of the `neighbours` pixels of a size x size window whose value is nearest the centre's.

    The centre counts as one of them. Pixels that tie for the last places enter by their average, which
    makes the filter independent of direction; `ties="raster"` takes the first of them, row by row.
    image: (H, W), any real dtype. Returns (H, W) float64. `border` names the numpy.pad mode of the margin.
    Source: Davis and Rosenfeld, IEEE Trans. SMC 8 (1978). Raises UserError for an even window, for
    `neighbours` outside 1 to size * size and for an image that is not finite.
    """
    image = np.asarray(image)
    _check(image, size, neighbours, ties, border)
    radius = size // 2
    if neighbours == 1:
        return image.astype(np.float64)
    work, total = _dtypes(image, size)
    padded: Array = np.pad(image.astype(work), radius, mode=border)
    height, width = image.shape
    out = np.empty((height, width), np.float64)
    rows = max(1, _TILE_BYTES // (size * size * width * np.dtype(work).itemsize))
    for top in range(0, height, rows):
        n = min(rows, height - top)
        planes = [
            np.ascontiguousarray(padded[top + i : top + i + n, j : j + width])
            for i, j in product(range(size), repeat=2)
        ]
        out[top : top + n] = _tile(planes, neighbours, ties, total)
    return out


def _check(image: Array, size: int, neighbours: int, ties: str, border: str) -> None:
    if image.ndim != 2 or not image.size:
        raise UserError(f"KNN smoothing takes an image (H, W), not one of shape {image.shape}")
    if size < 1 or size % 2 == 0:
        raise UserError(f"the window of KNN smoothing must be odd, not {size}", "size")
    if not 1 <= neighbours <= size * size:
        raise UserError(
            f"a {size} x {size} window holds 1 to {size * size} neighbours, not {neighbours}",
            "neighbours",
        )
    for name, value, known in (("ties", ties, get_args(Ties)), ("border", border, get_args(Border))):
        if value not in known:
            raise UserError(f"{value!r} is not one of {', '.join(known)}", name)
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise UserError("the image holds values that are not finite", hint="clean it before smoothing")


def _dtypes(image: Array, size: int) -> tuple[type, type]:
    """Types for pixel values and for sums over a window: unsigned ones where they are exact, for speed."""
    if image.dtype in (np.uint8, np.bool_):
        return np.uint8, np.uint16 if size * size * 255 < 1 << 16 else np.uint32
    if image.dtype == np.uint16:
        return np.uint16, np.uint32
    return np.float64, np.float64


def _tile(planes: list[Array], neighbours: int, ties: Ties, total: type) -> Array:
    """The filter on one tile; planes: the size * size shifted copies of its pixels, in raster order."""
    centre = planes[len(planes) // 2]
    # maximum - minimum instead of |a - b|: unsigned values must not wrap.
    far = [np.maximum(p, centre) - np.minimum(p, centre) for p in planes]
    bound = _order_statistic([f for i, f in enumerate(far) if i != len(planes) // 2], neighbours - 2)
    kept: Array = np.zeros(centre.shape, total)
    tied: Array = np.zeros(centre.shape, total)
    count, draws = np.zeros(centre.shape, np.uint16), np.zeros(centre.shape, np.uint16)
    for plane, distance in zip(planes, far, strict=True):
        nearer = distance < bound
        kept += plane * nearer
        count += nearer
    left = neighbours - count
    for plane, distance in zip(planes, far, strict=True):
        level = distance == bound
        if ties == "raster":
            level &= draws < left
        tied += plane * level
        draws += level
    return (kept + tied * (left / draws)) / neighbours


def _order_statistic(planes: list[Array], rank: int) -> Array:
    """The value of 0-based `rank` at every pixel, by the part of a sorting network that leads to it."""
    lanes = [plane.copy() for plane in planes]
    scratch = np.empty_like(lanes[0])
    for low, high, need_low, need_high in _network(len(lanes), rank):
        a, b = lanes[low], lanes[high]
        if need_low and need_high:
            np.minimum(a, b, out=scratch)
            np.maximum(a, b, out=b)
            lanes[low], scratch = scratch, a
        elif need_low:
            np.minimum(a, b, out=a)
        else:
            np.maximum(a, b, out=b)
    return lanes[rank]


@lru_cache(maxsize=32)
def _network(lanes: int, rank: int) -> tuple[tuple[int, int, bool, bool], ...]:
    """Batcher's odd-even merge sort of `lanes` values, reduced to what lane `rank` depends on.

    Each comparator: (low, high, whether its minimum is used, whether its maximum is used).
    """
    width = 1 << (lanes - 1).bit_length()
    pairs: list[tuple[int, int]] = []
    p = 1
    while p < width:
        k = p
        while k >= 1:
            for j in range(k % p, width - k, 2 * k):
                pairs.extend(
                    (i + j, i + j + k)
                    for i in range(min(k, width - j - k))
                    if (i + j) // (2 * p) == (i + j + k) // (2 * p) and i + j + k < lanes
                )
            k //= 2
        p *= 2
    needed = {rank}
    kept: list[tuple[int, int, bool, bool]] = []
    for low, high in reversed(pairs):
        if low in needed or high in needed:
            kept.append((low, high, low in needed, high in needed))
            needed |= {low, high}
    return tuple(reversed(kept))
