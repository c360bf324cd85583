"""From masks to contours, tidy or not."""

import numpy as np
import pytest

from medzoo.errors import UserError
from medzoo.imaging.contour import contour_area, contour_length, resample, single_component, trace


def disk(shape, centre, radius):
    y, x = np.indices(shape)
    return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2


def test_a_disk_is_traced_by_equal_steps():
    contour = trace(disk((120, 140), (70, 55), 40))
    assert contour.shape == (256, 2)
    np.testing.assert_allclose(contour.mean(axis=0), [70, 55], atol=0.1)
    np.testing.assert_allclose(np.hypot(*(contour - [70, 55]).T), 40.0, atol=0.8)
    steps = np.hypot(*np.diff(contour, axis=0, append=contour[:1]).T)
    assert steps.max() / steps.min() < 1.6  # chords of equal arcs
    assert contour_area(contour) == pytest.approx(np.pi * 40**2, rel=0.02)


def test_several_masses_the_largest_counts_and_holes_close():
    mask = disk((100, 100), (30, 30), 20) | disk((100, 100), (80, 80), 8)
    mask &= ~disk((100, 100), (30, 30), 5)
    alone, notes = single_component(mask)
    np.testing.assert_array_equal(alone, disk((100, 100), (30, 30), 20))
    assert notes == ("2 masses in the mask: the largest is used",)


def test_a_mass_at_the_border_is_closed_along_it():
    mask = disk((90, 100), (0, 45), 30)
    alone, notes = single_component(mask)
    assert notes == ("the mass touches the border: its outline is closed along it",)
    contour = trace(alone)
    assert contour[:, 0].min() == pytest.approx(-0.5)
    assert contour_area(contour) == pytest.approx(mask.sum(), rel=0.01)


def test_bad_masks_are_named():
    with pytest.raises(UserError, match="mask is empty"):
        single_component(np.zeros((9, 9)))
    with pytest.raises(UserError, match="9 x 8 but its image is 10 x 12"):
        single_component(np.ones((8, 9)), shape=(12, 10))
    single = np.zeros((9, 9))
    single[4, 4] = 1
    with pytest.raises(UserError, match="too short"):
        trace(single)


def test_resampling_keeps_the_polygon():
    square = np.array([[0, 0], [0.5, 0], [1, 0], [1, 0.5], [1, 1], [0.5, 1], [0, 1], [0, 0.5]])
    out = resample(square, points=64)
    np.testing.assert_allclose(np.hypot(*np.diff(out, axis=0, append=out[:1]).T), 4 / 64, atol=1e-12)
    assert contour_length(out) == pytest.approx(4)
    assert contour_area(out[::-1]) == pytest.approx(1)
    with pytest.raises(UserError, match="at least 8"):
        resample(square[:7])
    with pytest.raises(UserError, match="the same"):
        resample(np.ones((9, 2)))
    with pytest.raises(UserError, match="not finite"):
        resample(np.full((9, 2), np.nan))
