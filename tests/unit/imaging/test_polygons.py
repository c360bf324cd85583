"""Polygons of masks: filled again they are the mask, rings are simple and turn as RFC 7946 says."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.path import Path
from scipy.ndimage import gaussian_filter, label

from medzoo.imaging.polygons import polygons


def filled(found, shape):
    """Pixels whose centres lie in the polygons, holes left out."""
    rows, columns = np.indices(shape)
    centres = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], axis=1)
    mask = np.zeros(shape, bool)
    for outside, *holes in found:
        inside = Path(outside).contains_points(centres)
        for hole in holes:
            inside &= ~Path(hole).contains_points(centres)
        mask |= inside.reshape(shape)
    return mask


def area(ring):
    x, y = ring.T.astype(float)
    return (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2


@pytest.mark.parametrize("seed", range(8))
def test_a_mask_is_its_polygons_filled(seed):
    rng = np.random.default_rng(seed)
    noise = gaussian_filter(rng.normal(size=(30, 40)), seed / 3)
    mask = noise > np.quantile(noise, rng.uniform(0.3, 0.8))
    found = polygons(mask)
    assert np.array_equal(filled(found, mask.shape), mask)
    assert len(found) == label(mask)[1]
    for rings in found:
        assert area(rings[0]) > 0
        assert all(area(hole) < 0 for hole in rings[1:])
        for ring in rings:
            assert (ring[0] == ring[-1]).all()
            assert len({tuple(point) for point in ring[:-1].tolist()}) == len(ring) - 1, "a ring is simple"
    assert sum(area(ring) for rings in found for ring in rings) == mask.sum()


def test_a_rectangle_has_four_corners_and_a_frame_a_hole():
    mask = np.zeros((8, 9), bool)
    mask[2:6, 3:8] = True
    ((ring,),) = polygons(mask, corner=(10, 20))
    assert sorted(map(tuple, ring[:-1].tolist())) == [(23, 12), (23, 16), (28, 12), (28, 16)]
    mask[3:5, 4:6] = False
    ((_, hole),) = polygons(mask)
    assert sorted(map(tuple, hole[:-1].tolist())) == [(4, 3), (4, 5), (6, 3), (6, 5)]
    assert polygons(np.zeros((3, 3), bool)) == []
