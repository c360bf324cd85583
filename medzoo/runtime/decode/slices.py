"""Sliding inference of a segmentation graph over a volume or a picture: foreground box, slabs of slices, tiles.

Arrays in, labels or probabilities out. Outputs are written as they are computed, so that peak memory does not grow
with the number of slices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from medzoo.boxes import bounding_box
from medzoo.runtime.backends import Backend
from medzoo.runtime.decode.windows import patch_count, sliding_window
from medzoo.runtime.metadata import Geometry
from medzoo.types import Array

Box = tuple[slice, ...]


class Counted:
    """A backend that calls `report` with the number of its runs and `total` after each of them."""

    def __init__(self, backend: Backend, total: int, report: Callable[[int, int], None]) -> None:
        self.metadata, self.name, self.device = backend.metadata, backend.name, backend.device
        self._backend, self._total, self._report, self._done = backend, total, report, 0

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """See Backend.run."""
        answer = self._backend.run(inputs, outputs)
        self._done += 1
        self._report(min(self._done, self._total), self._total)
        return answer

    def finish(self) -> None:
        """Report that all is done: slices without foreground are not run."""
        self._report(self._total, self._total)


def run_count(geometry: Geometry, array: Array, *, slab: int = 1) -> int:
    """Runs of the graph that a prepared array (C, *spatial) takes, at most."""
    spatial = array.shape[1:]
    if geometry.dims == 2 and len(spatial) == 3:
        plane = tuple(slice(0, n) for axis, n in enumerate(spatial) if axis != geometry.axis)
        return int(-(-spatial[geometry.axis] // slab)) * len(list(tiles(plane, limit=geometry.tile)))
    box = bounding_box(array[0]) if geometry.foreground == "nonzero" else tuple(slice(0, n) for n in spatial)
    if box is None:
        return 1
    if geometry.window is not None:
        return patch_count([side.stop - side.start for side in box], geometry.window)
    return len(list(tiles(box, limit=geometry.tile)))


def segment_array(backend: Backend, array: Array, *, slab: int = 1) -> Array:
    """Return labels uint8 (*spatial) of a prepared array float32 (C, *spatial).

    `slab`: slices of a volume per run of a 2D graph. 1 is fastest on a CPU and needs the least memory. A GPU prefers
    more; as its libraries plan for every new shape, all runs then share one, that of the volume's foreground.
    """
    labels = np.zeros(array.shape[1:], np.uint8)
    for place, answer in _predict_parts(backend, array, slab=slab, output="labels"):
        labels[place] = answer
    return labels


def probability_maps(backend: Backend, array: Array, *, slab: int = 1) -> Array:
    """Return the probabilities of every label, uint8 (K, *spatial) from 0 to 255.

    Outside of the foreground all are 0.
    """
    maps = np.zeros((len(backend.metadata.labels), *array.shape[1:]), np.uint8)
    for place, answer in _predict_parts(backend, array, slab=slab, output="probabilities"):
        maps[(slice(None), *place)] = np.rint(255 * answer)
    if backend.metadata.geometry.foreground == "nonzero":
        maps *= array[0] != 0
    return maps


def _predict_parts(
    backend: Backend, array: Array, *, slab: int, output: Literal["labels", "probabilities"]
) -> Iterator[tuple[Box, Array]]:
    """Yield parts of the array (*spatial) with their labels, or probabilities (K, *part)."""
    geometry = backend.metadata.geometry
    spatial = array.shape[1:]
    if geometry.dims == 2 and len(spatial) == 3:
        yield from _predict_slices(backend, array, geometry, slab=slab, output=output)
        return
    # Every channel shares one foreground; the first stands for all.
    inside = array[0] if geometry.foreground == "nonzero" else None
    box = bounding_box(inside) if inside is not None else tuple(slice(0, n) for n in spatial)
    if box is None:
        return
    if geometry.window is not None:
        inner = array[(slice(None), *box)]
        for part, maps in sliding_window(backend, inner, geometry.window):
            place = tuple(slice(p.start + b.start, p.stop + b.start) for p, b in zip(part, box, strict=True))
            if output == "labels":
                labels = maps.argmax(axis=0).astype(np.uint8)
                yield place, labels if inside is None else labels * (inside[place] != 0)
            else:
                yield place, maps
        return
    for tile in tiles(box, limit=geometry.tile):
        context, core = with_margin(tile, spatial, margin=geometry.margin, multiple=geometry.multiple)
        answer = backend.run({"image": array[(slice(None), *context)][None]}, [output])[output][0]
        yield tile, answer[(*(slice(None),) * (answer.ndim - len(core)), *core)]


def _predict_slices(
    backend: Backend, array: Array, geometry: Geometry, *, slab: int, output: Literal["labels", "probabilities"]
) -> Iterator[tuple[Box, Array]]:
    # Slices first: (S, C, H, W), a view.
    stack = np.moveaxis(array, geometry.axis + 1, 0)
    reach = geometry.slices // 2
    only_inside = geometry.foreground == "nonzero"
    plane: Box | None = (slice(0, stack.shape[2]), slice(0, stack.shape[3]))
    shared = bounding_box(np.any(stack[:, 0], axis=0)) if only_inside and slab > 1 else plane
    for start in range(0, len(stack), slab):
        # The last slab reaches back over slices that are answered already rather than be a smaller one.
        first = max(0, min(start, len(stack) - slab))
        chosen = range(first, min(first + slab, len(stack)))
        box = shared
        if only_inside:
            inside = np.any(stack[start : chosen.stop, 0], axis=0)
            if not inside.any():
                continue
            box = shared if slab > 1 else bounding_box(inside)
        assert box is not None
        for tile in tiles(box, limit=geometry.tile):
            context, core = with_margin(tile, stack.shape[2:], margin=geometry.margin, multiple=geometry.multiple)
            batch = np.stack([slice_with_neighbours(stack, s, reach)[(slice(None), *context)] for s in chosen])
            answer = backend.run({"image": batch}, [output])[output]
            answer = answer[(*(slice(None),) * (answer.ndim - len(core)), *core)]
            place = list(tile)
            place.insert(geometry.axis, slice(chosen.start, chosen.stop))
            # (S, h, w) or (S, K, h, w): slices go where they lie in the volume, labels stay in front.
            yield tuple(place), np.moveaxis(answer, 0, geometry.axis + answer.ndim - 3)


def slice_with_neighbours(stack: Array, index: int, reach: int) -> Array:
    """Stack slice `index` and its neighbours as channels, (slices * C, H, W), with zeros beyond the ends."""
    if reach == 0:
        single: Array = stack[index]
        return single
    blank = np.zeros_like(stack[0])
    return np.concatenate([stack[i] if 0 <= i < len(stack) else blank for i in range(index - reach, index + reach + 1)])


def tiles(box: Box, *, limit: int | None) -> Iterator[Box]:
    """Split `box` into parts of about equal size, at most `limit` along every axis."""
    if limit is None:
        yield box
        return
    edges = []
    for side in box:
        parts = -(-(side.stop - side.start) // limit)
        edges.append(np.linspace(side.start, side.stop, parts + 1).round().astype(int))
    for index in np.ndindex(*[len(e) - 1 for e in edges]):
        yield tuple(slice(int(e[i]), int(e[i + 1])) for e, i in zip(edges, index, strict=True))


def with_margin(tile: Box, shape: tuple[int, ...], *, margin: int | None, multiple: int = 1) -> tuple[Box, Box]:
    """Return the part of the array to run for `tile`, and the place of the tile in the output.

    The graph pads its input with zeros, so the part may end at the array's edge but must otherwise extend `margin`
    beyond the tile; None means the whole array. It starts at a multiple of `multiple`, as the whole array does.
    """
    context, core = [], []
    for side, length in zip(tile, shape, strict=True):
        start = max(0, side.start - margin) // multiple * multiple if margin is not None else 0
        stop = min(length, side.stop + margin) if margin is not None else length
        context.append(slice(start, stop))
        core.append(slice(side.start - start, side.stop - start))
    return tuple(context), tuple(core)
