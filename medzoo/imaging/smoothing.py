"""K-nearest-neighbour smoothing. Knows numpy, medzoo.errors and compiled of this room."""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import Any, Literal, get_args

import numpy as np

from medzoo.errors import UserError, missing_extra
from medzoo.imaging import compiled
from medzoo.types import Array

Border = Literal["reflect", "symmetric", "edge", "wrap"]
Ties = Literal["average", "raster"]
Engine = Literal["auto", "numpy", "numba"]

_TILE_BYTES = 1 << 21  # larger tiles leave the cache, smaller ones pay more for each call


def knn_smooth(
    image: Array,
    *,
    size: int = 5,
    neighbours: int = 9,
    ties: Ties = "average",
    border: Border = "reflect",
    engine: Engine = "auto",
) -> Array:
    """The mean of the `neighbours` pixels of a size x size window whose value is nearest the centre's.

    The centre counts as one of them. Pixels that tie for the last places enter by their average, which
    makes the filter independent of direction; `ties="raster"` takes the first of them, row by row.
    image: (H, W), any real dtype. Returns (H, W) float64. `border` names the numpy.pad mode of the margin.
    `engine`: numpy or numba (extra `fast`), equal up to rounding; auto takes numba where it is installed.
    Source: Davis and Rosenfeld, IEEE Trans. SMC 8 (1978). Raises UserError for an even window, for
    `neighbours` outside 1 to size * size, for an image that is not finite and for numba where it is absent.
    """
    image = np.asarray(image)
    _check(image, size, neighbours, ties, border, engine)
    if neighbours == 1:
        return image.astype(np.float64)
    radius = size // 2
    work, total = _dtypes(image, size)
    padded: Array = np.pad(image.astype(work), radius, mode=border)
    if engine != "numpy" and compiled.installed():
        network = np.array([pair[:2] for pair in _network(size * size - 1, neighbours - 2)])
        return compiled.knn_kernel()(padded, size, neighbours, network.reshape(-1, 2), ties == "raster")
    height, width = image.shape
    out = np.empty((height, width), np.float64)
    rows = max(1, _TILE_BYTES // (size * size * width * np.dtype(work).itemsize))
    tile = _Tile(rows, width, size=size, neighbours=neighbours, ties=ties, work=work, total=total)
    for top in range(0, height, rows):
        n = min(rows, height - top)
        if n < rows:
            tile = _Tile(n, width, size=size, neighbours=neighbours, ties=ties, work=work, total=total)
        tile(padded[top : top + n + 2 * radius], out[top : top + n])
    return out


def _check(image: Array, size: int, neighbours: int, ties: str, border: str, engine: str) -> None:
    if image.ndim != 2 or not image.size:
        raise UserError(f"KNN smoothing takes an image (H, W), not one of shape {image.shape}")
    if size < 1 or size % 2 == 0:
        raise UserError(f"the window of KNN smoothing must be odd, not {size}", "size")
    if not 1 <= neighbours <= size * size:
        raise UserError(
            f"a {size} x {size} window holds 1 to {size * size} neighbours, not {neighbours}",
            "neighbours",
        )
    choices = (("ties", ties, Ties), ("border", border, Border), ("engine", engine, Engine))
    for name, value, kind in choices:
        known = get_args(kind)
        if value not in known:
            raise UserError(f"{value!r} is not one of {', '.join(known)}", name)
    if engine == "numba" and not compiled.installed():
        raise missing_extra("numba", "fast")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise UserError("the image holds values that are not finite", hint="clean it before smoothing")


def _dtypes(image: Array, size: int) -> tuple[Any, Any]:
    """Types for pixel values and for sums over a window: the narrowest that keep them, for speed."""
    if image.dtype in (np.uint8, np.bool_):
        return np.uint8, np.uint16 if size * size * 255 < 1 << 16 else np.uint32
    if image.dtype == np.uint16:
        return np.uint16, np.uint32
    return np.float64, np.float64


class _Tile:
    """The filter on a few rows at a time; its buffers are made once, for they are most of the cost."""

    def __init__(self, rows: int, width: int, *, size: int, neighbours: int, ties: Ties, work: Any, total: Any) -> None:
        shape = (rows, width)
        self.neighbours, self.ties = neighbours, ties
        self.signed = np.dtype(work).kind == "f"
        self.centre = size * size // 2
        self.windows = [(slice(i, i + rows), slice(j, j + width)) for i, j in product(range(size), repeat=2)]
        self.lanes = [np.empty(shape, work) for _ in range(size * size - 1)]
        self.value, self.far, self.part = (np.empty(shape, work) for _ in range(3))
        self.taken = np.empty(shape, bool)
        self.sum, self.tied = np.empty(shape, total), np.empty(shape, total)
        self.product = np.empty(shape, total)
        self.count, self.draws = np.empty(shape, np.uint16), np.empty(shape, np.uint16)

    def __call__(self, padded: Array, out: Array) -> None:
        """padded: the rows with the window's margin; out: where the result of the rows goes, float64."""
        planes = [padded[window] for window in self.windows]
        centre = planes.pop(self.centre)
        for plane, lane in zip(planes, self.lanes, strict=True):
            self._distance(plane, centre, lane)
        bound = self._order_statistic(self.neighbours - 2)
        planes.insert(self.centre, centre)
        self.sum[...], self.count[...] = 0, 0
        for plane in planes:
            value = self._distance(plane, centre, self.far)
            np.less_equal(self.far, bound, out=self.taken)
            np.multiply(value, self.taken, out=self.product)
            self.sum += self.product
            self.count += self.taken
        mean = self.sum.astype(np.float64)
        over = self.count - self.neighbours
        if over.any():  # more pixels tie for the last places than there are places
            mean -= self._ties(planes, centre, bound, over)
        np.divide(mean, self.neighbours, out=out)
        if self.signed:
            out += centre

    def _distance(self, plane: Array, centre: Array, out: Array) -> Array:
        """|plane - centre| into `out`; returns the values to average, for floats relative to the centre."""
        if self.signed:
            np.subtract(plane, centre, out=self.value)
            np.abs(self.value, out=out)
            return self.value
        # maximum - minimum instead of |a - b|: unsigned values must not wrap.
        np.maximum(plane, centre, out=out)
        np.minimum(plane, centre, out=self.part)
        out -= self.part
        return plane

    def _ties(self, planes: list[Array], centre: Array, bound: Array, over: Array) -> Array:
        """The share in the sum of the `over` surplus pixels at the distance `bound`."""
        self.tied[...], self.draws[...] = 0, 0
        first = over if self.ties == "average" else None
        if first is None:
            # The last ones in raster order are the ones too many.
            planes = planes[::-1]
        for plane in planes:
            value = self._distance(plane, centre, self.far)
            np.equal(self.far, bound, out=self.taken)
            if first is None:
                self.taken &= self.draws < over
            np.multiply(value, self.taken, out=self.product)
            self.tied += self.product
            self.draws += self.taken
        return self.tied * (over / self.draws) if first is not None else self.tied.astype(np.float64)

    def _order_statistic(self, rank: int) -> Array:
        """The lanes' value of 0-based `rank` at every pixel, by the part of a sorting network it needs."""
        lanes, scratch = self.lanes, self.part
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
        self.part = scratch
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
