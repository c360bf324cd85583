"""Overlaps and boundary distances of the masks of one image: all that metrics of outlines come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from medzoo.errors import UserError
from medzoo.metrics.interval import ratio
from medzoo.metrics.surface import surface_distances
from medzoo.types import Array

Layers = Callable[[], Array] | Array
"""True masks as label maps in layers (L, *spatial): object k has the value k + 1 in one of them."""


class MasksLike(Protocol):
    """Masks of detections on the grid `shape`: `crop(n)` gives the first index of a block, and the mask in it."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def crop(self, index: int) -> tuple[tuple[int, ...], Array]: ...


_Part = tuple[tuple[slice, ...], Array]


@dataclass(frozen=True, eq=False)
class Overlaps:
    """N true objects, D detections and M objects that do not count, of one image, in pixels or voxels.

    `truth` (N,), `found` (D,) and `ignored` (M,): sizes. `shared`: rows (detection, object, what both hold),
    `on_ignored` the same with objects that do not count. `seen`, `seen_shared`, `seen_ignored` are `found`, `shared`
    and `on_ignored` where each pixel belongs to the detection of the highest score alone. `distances`: rows of a
    detection and the object that it found: mean and 95th percentile of the distances between their boundaries in
    pixels, and both in millimetres (NaN where the image gives no length).
    """

    truth: Array
    found: Array
    ignored: Array
    shared: Array
    on_ignored: Array
    seen: Array
    seen_shared: Array
    seen_ignored: Array
    distances: Array

    def fit(self, found: Array, truth: Array) -> Array:
        """IoU (d, n) of some detections with some objects, by their indices."""
        shared = _dense(self.shared, self.found, self.truth)[np.ix_(found, truth)]
        return _iou(shared, self.found[found], self.truth[truth])

    def beside(self, found: Array, ignored: Array, *, crowd: bool) -> Array:
        """IoU (d, m) of some detections with some objects that do not count; of a `crowd` the share of the detection
        that lies in it."""
        shared = _dense(self.on_ignored, self.found, self.ignored)[np.ix_(found, ignored)]
        own = self.found[found]
        return _share(shared, own) if crowd else _iou(shared, own, self.ignored[ignored])

    def seen_fit(self, found: Array, truth: Array) -> tuple[Array, Array]:
        """Intersection (d, n) of detections, without pixels of surer ones, with objects, and their IoU."""
        shared = _dense(self.seen_shared, self.found, self.truth)[np.ix_(found, truth)]
        return shared, _iou(shared, self.seen[found], self.truth[truth])

    def seen_beside(self, found: Array, ignored: Array) -> Array:
        """The share (d,) of some detections that lies on some objects that do not count."""
        shared = _dense(self.seen_ignored, self.found, self.ignored)[np.ix_(found, ignored)]
        return _share(shared.sum(axis=1, keepdims=True), self.seen[found])[:, 0]

    def dice(self, found: Array, truth: Array) -> Array:
        """Dice (d,) of detections with as many objects, pair by pair."""
        shared = _dense(self.shared, self.found, self.truth)[found, truth]
        result: Array = 2 * shared / np.maximum(self.found[found] + self.truth[truth], 1)
        return result

    def to_record(self) -> dict[str, Any]:
        """Fields by name, as lists."""
        return {
            name: [[None if np.isnan(v) else v for v in row] for row in self.distances.tolist()]
            if name == "distances"
            else getattr(self, name).tolist()
            for name in self.__dataclass_fields__
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Overlaps:
        """Undo `to_record`."""
        flat = {name: np.asarray(record[name], np.int64) for name in ("truth", "found", "ignored", "seen")}
        rows = {
            name: np.asarray(record[name], np.int64).reshape(-1, 3)
            for name in ("shared", "on_ignored", "seen_shared", "seen_ignored")
        }
        distances = [[np.nan if v is None else v for v in row] for row in record["distances"]]
        return cls(**flat, **rows, distances=np.asarray(distances, float).reshape(-1, 6))


def overlaps(
    truth: Layers | None,
    found: MasksLike | None,
    *,
    count: tuple[int, int],
    order: Sequence[int],
    pairs: Sequence[tuple[int, int]] = (),
    ignored: Sequence[_Part] = (),
    spacing: Sequence[float] | None = None,
    item: str = "",
) -> Overlaps:
    """Overlaps of the masks of one image.

    `count`: how many true objects and detections there are, `order`: the detections, best first. Distances are taken of
    `pairs` (detection, object); `spacing`: mm along the axes of the array. Raises UserError that names `item` where the
    masks lie on grids of different sizes.
    """
    layers = np.asarray(truth() if callable(truth) else truth) if truth is not None and count[0] else None
    shape = layers.shape[1:] if layers is not None else found.shape if found is not None else ()
    if layers is not None and found is not None and tuple(found.shape) != tuple(shape):
        raise UserError(f"the predicted masks have shape {tuple(found.shape)}, but the true ones {shape}", item)
    sizes, own, seen = (np.zeros(n, np.int64) for n in (*count, count[1]))
    if layers is not None:
        sizes[:] = np.bincount(layers.ravel(), minlength=count[0] + 1)[1 : count[0] + 1]
    taken = np.zeros(shape, bool)
    rows: dict[str, list[tuple[int, int, int]]] = {"shared": [], "on": [], "seen": [], "seen on": []}
    for d in order:
        assert found is not None
        corner, mask = found.crop(d)
        place = tuple(slice(a, a + n) for a, n in zip(corner, mask.shape, strict=True))
        fresh = mask & ~taken[place]
        taken[place] |= mask
        own[d], seen[d] = mask.sum(), fresh.sum()
        for what, where in (("shared", mask), ("seen", fresh)):
            for layer in layers if layers is not None else ():
                inside = np.bincount(layer[place][where])
                rows[what] += [(d, int(k) - 1, int(inside[k])) for k in np.flatnonzero(inside) if k]
        for m, part in enumerate(ignored):
            for what, where in (("on", mask), ("seen on", fresh)):
                if shared := _shared_pixels((place, where), part):
                    rows[what].append((d, m, shared))
    table = {name: np.array(found_rows, np.int64).reshape(-1, 3) for name, found_rows in rows.items()}
    return Overlaps(
        truth=sizes,
        found=own,
        ignored=np.array([part.sum() for _, part in ignored], np.int64),
        shared=table["shared"],
        on_ignored=table["on"],
        seen=seen,
        seen_shared=table["seen"],
        seen_ignored=table["seen on"],
        distances=_distances(layers, found, pairs, spacing),
    )


def ignored_parts(boxes: Array, layers: Layers | None, shape: tuple[int, ...]) -> list[_Part]:
    """Objects that do not count, as blocks and masks in them: of their outlines, or of their boxes (M, 2n)."""
    if layers is not None:
        array = np.asarray(layers() if callable(layers) else layers)
        nothing = (slice(0, 0),) * len(shape), np.zeros((0,) * len(shape), bool)
        return [part or nothing for part in _parts(array, len(boxes))]
    found: list[_Part] = []
    n = len(shape)
    for box in np.asarray(boxes, float).reshape(-1, 2 * n):
        low, high = (side[::-1] if n == 2 else side for side in (box[:n], box[n:]))
        # Pixels whose centres lie in the box.
        ends = [(int(np.ceil(a - 0.5)), int(np.ceil(b - 0.5))) for a, b in zip(low, high, strict=True)]
        place = tuple(slice(max(a, 0), max(min(b, side), 0)) for (a, b), side in zip(ends, shape, strict=True))
        found.append((place, np.ones([max(one.stop - one.start, 0) for one in place], bool)))
    return found


def _parts(layers: Array, count: int) -> list[_Part | None]:
    """The block and the mask of each object in layers; None of one without a pixel."""
    from scipy.ndimage import find_objects

    found: list[_Part | None] = [None] * count
    for layer in layers:
        for k, place in enumerate(find_objects(layer.astype(np.int32), max_label=count)):
            if place is not None:
                found[k] = (place, layer[place] == k + 1)
    return found


def _shared_pixels(first: _Part, second: _Part) -> int:
    """Pixels that two masks in blocks of one image share."""
    block = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(first[0], second[0], strict=True)]
    if any(one.stop <= one.start for one in block):
        return 0
    one, other = (
        mask[tuple(slice(b.start - p.start, b.stop - p.start) for b, p in zip(block, place, strict=True))]
        for place, mask in (first, second)
    )
    return int(np.logical_and(one, other).sum())


def _distances(
    layers: Array | None, found: MasksLike | None, pairs: Sequence[tuple[int, int]], spacing: Sequence[float] | None
) -> Array:
    """Rows (detection, object, mean, 95 % in pixels, mean, 95 % in mm); the image's diagonal where a mask is empty."""
    if not len(pairs) or layers is None or found is None:
        return np.empty((0, 6))
    rows = []
    parts = _parts(layers, max(t for _, t in pairs) + 1)
    steps = [np.ones(layers.ndim - 1), *([np.asarray(spacing, float)] if spacing is not None else [])]
    for d, t in pairs:
        corner, mask = found.crop(d)
        there = parts[t]
        ends = [np.full(2, np.linalg.norm(step * layers.shape[1:])) for step in steps]
        if there is not None and mask.any():
            place = tuple(slice(a, a + n) for a, n in zip(corner, mask.shape, strict=True))
            both = [slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(place, there[0], strict=True)]
            one, other = (_placed(part, both) for part in ((place, mask), there))
            for k, step in enumerate(steps):
                to, back = surface_distances(other, one, spacing=[float(s) for s in step])
                ends[k] = np.array([np.concatenate([to, back]).mean(), max(np.quantile(e, 0.95) for e in (to, back))])
        rows.append([d, t, *ends[0], *(ends[1] if len(ends) > 1 else (np.nan, np.nan))])
    return np.array(rows)


def _placed(part: _Part, block: Sequence[slice]) -> Array:
    """A mask in its block, in a larger block."""
    out = np.zeros([one.stop - one.start for one in block], bool)
    out[tuple(slice(p.start - b.start, p.stop - b.start) for p, b in zip(part[0], block, strict=True))] = part[1]
    return out


def _dense(rows: Array, found: Array, others: Array) -> Array:
    table = np.zeros((len(found), len(others)), np.int64)
    table[rows[:, 0], rows[:, 1]] = rows[:, 2]
    return table


def _iou(shared: Array, own: Array, others: Array) -> Array:
    union = own[:, None] + others[None] - shared
    result: Array = np.divide(shared, union, out=np.zeros(shared.shape), where=union > 0)
    return result


def _share(shared: Array, own: Array) -> Array:
    result: Array = np.nan_to_num(ratio(shared.astype(float), own[:, None]))
    return result
