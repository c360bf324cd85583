"""All parts and holes of a mask in one ring, for formats that have one polygon an object."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medzoo.types import Array


def one_ring(polygons: Sequence[Sequence[Array]]) -> Array:
    """A ring (N, 2) of x and y that fills as `polygons` do (medzoo.imaging.polygons) where crossings are counted.

    Rings are joined by bridges of no width, there and back along whole pixels' edges: no pixel's centre lies on one.
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
