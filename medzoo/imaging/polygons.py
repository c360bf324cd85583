"""Polygons of masks along the edges of their pixels, with holes, so that a mask is its polygons filled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medzoo.types import Array


def polygons(mask: Array, *, corner: tuple[int, ...] = (0, 0)) -> list[list[Array]]:
    """Polygons of a mask (H, W): each a list of closed rings (P, 2), x and y in pixels, edges of the first at 0.

    The first ring of a polygon is its outside, counter-clockwise by the signed area (x, y); the others are holes,
    clockwise (RFC 7946). Parts that touch at a corner alone are polygons of their own; rings may touch at points, and
    never cross. `corner`: row and column of the mask's first pixel in the picture.
    """
    from scipy.ndimage import find_objects, label

    numbers, _ = label(np.asarray(mask) != 0)
    found = []
    for number, place in enumerate(find_objects(numbers), 1):
        rings = _rings(numbers[place] == number)
        shift = np.array([place[1].start + corner[1], place[0].start + corner[0]])
        areas = [_signed_area(ring) for ring in rings]
        outside = int(np.argmax(np.abs(areas)))
        order = [outside, *(k for k in range(len(rings)) if k != outside)]
        found.append([(rings[k] if (areas[k] > 0) == (k == outside) else rings[k][::-1]) + shift for k in order])
    return found


def layer_outlines(layers: Array) -> list[list[Array]]:
    """The rings of each object of label maps in layers (L, H, W)."""
    from scipy.ndimage import find_objects

    return [
        [ring for polygon in polygons(layer[place] == k, corner=(place[0].start, place[1].start)) for ring in polygon]
        for layer in layers
        for k, place in enumerate(find_objects(layer.astype(np.int32)), 1)
        if place is not None
    ]


def _rings(part: Array) -> list[Array]:
    """Simple closed rings around a part (H, W) whose pixels share edges."""
    padded = np.pad(part, 1).astype(np.int8)
    # An edge runs from one corner to the next with the part on its right hand (y downwards).
    steps: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for axis in (0, 1):
        change = np.diff(padded, axis=axis)
        for y, x in np.argwhere(change != 0):
            enters = change[y, x] > 0
            if axis == 0:  # between rows: corners (x - 1, y) and (x, y)
                first, last = (int(x) - 1, int(y)), (int(x), int(y))
                start, stop = (first, last) if enters else (last, first)
            else:
                first, last = (int(x), int(y) - 1), (int(x), int(y))
                start, stop = (last, first) if enters else (first, last)
            steps.setdefault(start, []).append(stop)
    rings = []
    while steps:
        path = [next(iter(steps))]
        place = {path[0]: 0}
        while True:
            here = path[-1]
            stop = steps[here].pop()
            if not steps[here]:
                del steps[here]
            if stop in place:  # a loop is closed: it is a ring of its own
                loop = path[place[stop] :]
                rings.append(_corners(np.array([*loop, stop])))
                for one in loop[1:]:
                    del place[one]
                del path[place[stop] + 1 :]
                if stop == path[0] and stop not in steps:
                    break
            else:
                place[stop] = len(path)
                path.append(stop)
    return rings


def _corners(ring: Array) -> Array:
    """A closed ring without the points inside its straight edges."""
    step = np.diff(ring, axis=0)
    turns = (step != np.roll(step, 1, axis=0)).any(axis=1)
    kept = ring[:-1][turns]
    return np.concatenate([kept, kept[:1]])


def _signed_area(ring: Array) -> float:
    x, y = ring[:, 0].astype(float), ring[:, 1].astype(float)
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)


def one_ring(polygons: Sequence[Sequence[Array]]) -> Array:
    """Join all parts and holes of a mask to one ring (N, 2) of x and y, for formats with one polygon an object.

    It fills as `polygons` do where crossings are counted. Bridges of no width join the rings, there and back along
    whole pixels' edges: no pixel's centre lies on one.
    """
    rings = [np.asarray(ring)[:-1] for polygon in polygons for ring in polygon]
    first = rings[0]
    start = first[:1]
    path = [first, start]
    for ring in rings[1:]:
        corner = np.array([[ring[0, 0], start[0, 1]]])
        path += [corner, ring, ring[:1], corner, start]
    whole = np.concatenate(path)
    kept = np.ones(len(whole), bool)
    kept[1:] = (whole[1:] != whole[:-1]).any(axis=1)
    whole = whole[kept]
    return whole[:-1] if len(whole) > 3 and (whole[0] == whole[-1]).all() else whole
