from __future__ import annotations

import numpy as np

from medzoo.imaging.measures import holes


def test_what_a_mask_surrounds_is_a_hole_and_a_bay_is_none() -> None:
    mask = np.zeros((12, 14, 10), bool)
    mask[1:11, 1:13, 1:9] = True
    expected = np.zeros_like(mask)
    expected[4:7, 4:8, 3:6] = expected[9, 2, 2] = True
    mask[expected] = False
    mask[:6, 10:12, 4:7] = False  # a bay that is open to the outside
    assert np.array_equal(holes(mask), expected)


def test_a_hole_with_a_narrow_leak_is_still_a_hole() -> None:
    mask = np.ones((20, 20), bool)
    mask[6:14, 6:14] = False
    whole = ~mask
    mask[9, :6] = False
    assert holes(mask)[whole].all()
    assert not holes(mask)[9, :3].any()


def test_the_outside_is_no_hole_where_the_mask_touches_every_edge() -> None:
    mask = np.ones((6, 6, 6), bool)
    mask[0, 0, 0] = mask[3, 3, 3] = False
    assert np.argwhere(holes(mask)).tolist() == [[3, 3, 3]]
    assert not holes(np.zeros((4, 4), bool)).any()
