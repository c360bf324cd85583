"""Probabilities of a volume from a graph that is run in overlapping patches, joined by Gaussian weights.

Isensee et al., Nature Methods 18:203, 2021: sigma is an eighth of the patch. The patches form a grid, so the sum of all
weights at a voxel is a product over the axes: each weight is divided by it in advance, and what is added up is the
answer. Patches go from one end of the volume to the other along one axis, and slabs that no further patch reaches are
handed out: memory holds one row of patches, however long the volume is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from medzoo.runtime.backends import Backend
from medzoo.runtime.metadata import SlidingWindow
from medzoo.types import Array

Box = tuple[slice, ...]
_SIGMA = 1 / 8
"""Standard deviation of the weights, as a share of the patch."""


@dataclass(frozen=True, eq=False)
class _Axis:
    """Patches along one axis: their first voxels, negative in a volume smaller than a patch, and the share that each
    has in the answer of the voxels that it covers, (patches, size) float32."""

    starts: tuple[int, ...]
    shares: Array


def sliding_window(
    backend: Backend, array: Array, window: SlidingWindow, *, order: np.random.Generator | None = None
) -> Iterator[tuple[Box, Array]]:
    """Parts of `array` float32 (C, *spatial) that cover it once, and probabilities float32 (K, *part) of each.

    What a patch reaches outside the array is zeros. `order` shuffles the patches that lie beside each other, which
    changes the answer by rounding alone.
    """
    spatial = array.shape[1:]
    axes = [_along(length, size, window.overlap) for length, size in zip(spatial, window.size, strict=True)]
    # Along this axis a row of patches takes the least memory.
    along = min(range(3), key=lambda axis: window.size[axis] / spatial[axis])
    others = [axis for axis in range(3) if axis != along]
    rows = list(product(*(range(len(axes[axis].starts)) for axis in others)))
    buffer, done = None, 0
    for number, start in enumerate(axes[along].starts):
        picked = rows if order is None else [rows[i] for i in order.permutation(len(rows))]
        for row in picked:
            index = list(row)
            index.insert(along, number)
            answer = _mirrored(backend, _cut(array, [a.starts[i] for a, i in zip(axes, index, strict=True)], window))
            if buffer is None:
                shape = [*spatial]
                shape[along] = window.size[along]
                buffer = np.zeros((answer.shape[0], *shape), np.float32)
            _add(buffer, answer, axes, index, along)
        assert buffer is not None
        last = number + 1 == len(axes[along].starts)
        stop = spatial[along] if last else axes[along].starts[number + 1]
        if stop <= done:
            continue
        first = max(start, 0)
        place = [slice(0, n) for n in spatial]
        place[along] = slice(done, stop)
        held = [slice(None), *(slice(None),) * 3]
        held[1 + along] = slice(done - first, stop - first)
        yield tuple(place), buffer[tuple(held)].copy()
        if not last:
            # What the next row of patches adds to moves to the front.
            moved = np.moveaxis(buffer, 1 + along, 0)
            kept = window.size[along] - (stop - first)
            moved[:kept] = moved[stop - first :].copy()
            moved[kept:] = 0
        done = stop


def patch_count(spatial: Sequence[int], window: SlidingWindow) -> int:
    """Runs of the graph that a volume of this size takes."""
    axes = [_along(length, size, window.overlap) for length, size in zip(spatial, window.size, strict=True)]
    return math.prod(len(axis.starts) for axis in axes) << len(window.mirror)


def _along(length: int, size: int, overlap: float) -> _Axis:
    if length <= size:
        starts: tuple[int, ...] = (-((size - length) // 2),)
    else:
        step = max(1.0, size * (1 - overlap))
        count = 1 + int(np.ceil((length - size) / step - 1e-9))
        starts = tuple(int(place) for place in np.linspace(0, length - size, count).round())
    places = np.arange(size) - (size - 1) / 2
    weights = np.exp(-0.5 * (places / (_SIGMA * size)) ** 2)
    total = np.zeros(max(length, starts[-1] + size) - starts[0])
    for start in starts:
        total[start - starts[0] : start - starts[0] + size] += weights
    shares = np.stack([weights / total[start - starts[0] : start - starts[0] + size] for start in starts])
    return _Axis(starts, shares.astype(np.float32))


def _cut(array: Array, starts: Sequence[int], window: SlidingWindow) -> Array:
    """(C, *size) float32 from `starts` on, zeros outside the array."""
    take, put = [slice(None)], [slice(None)]
    for start, size, length in zip(starts, window.size, array.shape[1:], strict=True):
        low, high = max(0, start), min(length, start + size)
        take.append(slice(low, high))
        put.append(slice(low - start, high - start))
    inside = array[tuple(take)]
    if inside.shape[1:] == tuple(window.size):
        return np.ascontiguousarray(inside, np.float32)
    patch = np.zeros((len(array), *window.size), np.float32)
    patch[tuple(put)] = inside
    return patch


def _mirrored(backend: Backend, patch: Array) -> Array:
    """Probabilities (K, *size) of a patch: the mean over its mirrored views."""
    window = backend.metadata.geometry.window
    assert window is not None
    views = [way for count in range(len(window.mirror) + 1) for way in combinations(window.mirror, count)]
    total: Array | None = None
    for way in views:
        turned = tuple(1 + axis for axis in way)
        view = np.ascontiguousarray(np.flip(patch, turned)) if turned else patch
        answer = backend.run({"image": view[None]}, ["probabilities"])["probabilities"][0].astype(np.float32)
        answer = np.flip(answer, turned) if turned else answer
        total = answer if total is None else total + answer
    assert total is not None
    return total / np.float32(len(views))


def _add(buffer: Array, answer: Array, axes: Sequence[_Axis], index: Sequence[int], along: int) -> None:
    """Add a patch with its weights to the row `buffer` (K, *), whose first voxel along `along` is the patch's."""
    take, put = [slice(None)], [slice(None)]
    weighted = answer
    for axis, (patches, number) in enumerate(zip(axes, index, strict=True)):
        start, share = patches.starts[number], patches.shares[number]
        weighted = weighted * share.reshape([-1 if other == axis else 1 for other in range(3)])
        low = max(0, -start)
        limit = buffer.shape[1 + axis]
        high = min(len(share), limit if axis == along else limit - start)
        take.append(slice(low, high))
        put.append(slice(0, high - low) if axis == along else slice(start + low, start + high))
    buffer[tuple(put)] += weighted[tuple(take)]
