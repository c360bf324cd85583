"""Detection in volumes with a 2D graph: boxes are found slice by slice, then merged."""

from __future__ import annotations

import numpy as np

from medzoo.boxes import box_iou
from medzoo.runtime.backends import Backend
from medzoo.runtime.decode.slices import slice_with_neighbours
from medzoo.types import Array

# Overlap in the plane from which boxes of one class in nearby slices are one object's (Jaeger et al. 2018).
OVERLAP = 0.1
# Slices that an object may be missed in between two that show it.
GAP = 1
# An object ends where the score falls below this share of its best slice's: what is fainter is its blur.
SHARE = 0.3
# The sections that decide how wide an object is are at least this share as sure as its best one.
CLEAR = 0.5
# The score is the mean over this many of its best slices; those that it lacks count as 0. Noise and the edges of
# folds show in one slice, objects in several.
SLICES = 3


def detect_volume(backend: Backend, array: Array, *, threshold: float) -> tuple[Array, Array, Array]:
    """Return boxes (N, 6) along the axes of a prepared array float32 (C, I, J, K), scores (N,) and classes (N,).

    `threshold`: boxes whose score is below it are left out. Slices lie along the geometry's axis; those without any
    signal are not looked at where only nonzero values are foreground.
    """
    geometry = backend.metadata.geometry
    stack = np.moveaxis(array, geometry.axis + 1, 0)
    boxes, scores, classes, places = [], [], [], []
    for place in range(len(stack)):
        if geometry.foreground == "nonzero" and not stack[place].any():
            continue
        image = np.ascontiguousarray(slice_with_neighbours(stack, place, geometry.slices // 2))
        answer = backend.run({"image": image[None]})
        kept = slice(0, int(answer["count"][0]))
        boxes.append(answer["boxes"][0, kept])
        scores.append(answer["scores"][0, kept])
        classes.append(answer["labels"][0, kept])
        places.append(np.full(kept.stop, place))
    if not boxes:
        return np.zeros((0, 6), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
    merged, best, kinds = merge_slices(*map(np.concatenate, (boxes, scores, classes, places)))
    shown = best >= threshold
    return _along_axes(merged[shown], geometry.axis), best[shown], kinds[shown]


def merge_slices(boxes: Array, scores: Array, classes: Array, places: Array) -> tuple[Array, Array, Array]:
    """Merge boxes of slices to boxes (M, 6), x0, y0, s0, x1, y1, s1 with slices s0 to s1 - 1, best first.

    Weighted box clustering over slices (Jaeger et al., Retina U-Net, arXiv 1811.08661): the best box that is
    left takes those of its class that overlap it in the slices next to it, and so on while slices follow each
    other and show it at least SHARE times as surely. Sides in the plane lie midway between means weighted by score,
    overlap and area, and the sides of a box around the best box of every slice that shows it CLEAR times as surely:
    sections of one object are smaller than its box, and a single loose one must not decide. Fainter boxes there and in
    the slices next to it are its own too and are dropped. boxes (N, 4), scores, classes and places (N,).
    """
    order = np.argsort(-scores, kind="stable")
    free = np.ones(len(boxes), bool)
    merged, best, kinds = [], [], []
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    for core in order:
        if not free[core]:
            continue
        overlap = box_iou(boxes[core : core + 1], boxes)[0]
        near = free & (classes == classes[core]) & (overlap >= OVERLAP)
        near[core] = True
        sure = near & (scores >= SHARE * scores[core])
        run = _run(np.unique(places[sure]), int(places[core]))
        mine = sure & np.isin(places, run)
        free &= ~(near & (places >= run[0] - 1) & (places <= run[-1] + 1))
        weights = scores[mine] * overlap[mine] * area[mine]
        plane = boxes[core]
        if weights.sum() > 0:
            mean = (boxes[mine] * weights[:, None]).sum(axis=0) / weights.sum()
            plane = (mean + _around(boxes, scores, places, mine & (scores >= CLEAR * scores[core]))) / 2
        merged.append([*plane[:2], places[mine].min(), *plane[2:], places[mine].max() + 1])
        best.append(_mean_of_best(scores[mine], places[mine]))
        kinds.append(classes[core])
    ranks = np.argsort(-np.array(best), kind="stable")
    return (
        np.array(merged, np.float32).reshape(-1, 6)[ranks],
        np.array(best, np.float32)[ranks],
        np.array(kinds, np.int64)[ranks],
    )


def _around(boxes: Array, scores: Array, places: Array, chosen: Array) -> Array:
    """Return the box (4,) around the best of the `chosen` boxes of every slice."""
    best = [np.flatnonzero(chosen & (places == place)) for place in np.unique(places[chosen])]
    sections = boxes[[int(rows[scores[rows].argmax()]) for rows in best]]
    return np.concatenate([sections[:, :2].min(axis=0), sections[:, 2:].max(axis=0)])


def _mean_of_best(scores: Array, places: Array) -> float:
    """Return the mean of the best scores of the best SLICES slices."""
    each = np.array([scores[places == place].max() for place in np.unique(places)])
    return float(np.sort(each)[-SLICES:].sum() / SLICES)


def _run(found: Array, start: int) -> Array:
    """Return the slices of `found` (sorted) connected to `start`, with gaps of at most GAP slices."""
    pieces = np.split(found, np.flatnonzero(np.diff(found) > GAP + 1) + 1)
    return next(piece for piece in pieces if start in piece)


def _along_axes(boxes: Array, axis: int) -> Array:
    """Convert boxes of x, y, slice to the array's axes: y and x run along the other two, in this order."""
    first, second = [a for a in range(3) if a != axis]
    sides = np.empty_like(boxes)
    for source, target in ((0, second), (1, first), (2, axis)):
        sides[:, target], sides[:, target + 3] = boxes[:, source], boxes[:, source + 3]
    return sides
