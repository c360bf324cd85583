"""The KNN filter compiled by numba, where it is installed (extra `fast`). Knows numpy and numba.

numba is imported on first use; the filter runs without it, some times slower.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np

from medzoo.types import Array

_BLOCK = 64  # pixels of a row at a time: their lanes fit in the first-level cache


def installed() -> bool:
    """True if numba is installed; it is not imported to find out."""
    return find_spec("numba") is not None


@lru_cache(maxsize=1)
def knn_kernel() -> Callable[..., Array]:
    """filter(padded, size, neighbours, network, by_raster) -> (H, W) float64, compiled on its first call.

    padded: (H + size - 1, W + size - 1); network: comparators (n, 2) that bring the lane of rank
    neighbours - 2 of the size * size - 1 pixels around the centre into its place.
    """
    from numba import njit

    def keep_first(
        padded: Any, y: int, left: int, n: int, size: int, neighbours: int,
        bound: Any, nearer: Any, tied: Any, draws: Any,
    ) -> None:  # fmt: skip
        """Of the pixels at the bound, keep the first in raster order, as many as there are places."""
        r = size // 2
        for x in range(n):
            tied[x] = draws[x] = 0.0
            centre = padded[y + r, left + r + x]
            for i in range(size):
                for j in range(size):
                    a = padded[y + i, left + j + x]
                    far = a - centre if a > centre else centre - a
                    if far == bound[x] and draws[x] < neighbours - nearer[x]:
                        tied[x] += a
                        draws[x] += 1.0

    first_ties = njit(nogil=True)(keep_first)

    def run(padded: Any, size: int, neighbours: int, network: Any, by_raster: bool) -> Any:
        height, width = padded.shape[0] - size + 1, padded.shape[1] - size + 1
        lanes = np.empty((size * size, _BLOCK), padded.dtype)
        bound = np.empty(_BLOCK, padded.dtype)
        total, tied = np.empty(_BLOCK, np.float64), np.empty(_BLOCK, np.float64)
        nearer, draws = np.empty(_BLOCK, np.float64), np.empty(_BLOCK, np.float64)
        out = np.empty((height, width), np.float64)
        r = size // 2
        for y in range(height):
            for left in range(0, width, _BLOCK):
                n = min(_BLOCK, width - left)
                centre = padded[y + r, left + r : left + r + n]
                lane = 0
                for i in range(size):
                    for j in range(size):
                        if i != r or j != r:
                            plane = padded[y + i, left + j : left + j + n]
                            into = lanes[lane]
                            for x in range(n):
                                a, b = plane[x], centre[x]
                                into[x] = a - b if a > b else b - a
                            lane += 1
                for c in range(network.shape[0]):
                    low, high = lanes[network[c, 0]], lanes[network[c, 1]]
                    for x in range(n):
                        a, b = low[x], high[x]
                        low[x] = a if a < b else b
                        high[x] = b if a < b else a
                rank = lanes[neighbours - 2]
                for x in range(n):
                    bound[x] = rank[x]
                    total[x] = tied[x] = nearer[x] = draws[x] = 0.0
                for i in range(size):
                    for j in range(size):
                        plane = padded[y + i, left + j : left + j + n]
                        for x in range(n):
                            a, b = plane[x], centre[x]
                            far = a - b if a > b else b - a
                            w = 1.0 if far < bound[x] else 0.0
                            e = 1.0 if far == bound[x] else 0.0
                            total[x] += w * a
                            nearer[x] += w
                            tied[x] += e * a
                            draws[x] += e
                if by_raster:
                    first_ties(padded, y, left, n, size, neighbours, bound, nearer, tied, draws)
                for x in range(n):
                    places = neighbours - nearer[x]
                    out[y, left + x] = (total[x] + tied[x] * (places / draws[x])) / neighbours
        return out

    compiled: Callable[..., Array] = njit(nogil=True)(run)
    return compiled
