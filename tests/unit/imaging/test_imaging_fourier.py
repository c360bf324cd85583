"""Fourier descriptors: the ellipse, square and star of section 5."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.special import zeta

from medzoo.errors import UserError
from medzoo.imaging.contour import resample
from medzoo.imaging.fourier import fourier_descriptors, fourier_factor, reconstruct, reconstruction_error

T = 2 * np.pi * np.arange(256) / 256


def points(z):
    return np.stack([z.real, z.imag], axis=1)


def ellipse():
    return 2 * np.cos(T) + 1j * np.sin(T) + (3 + 4j)


def square(n):
    return resample(points(np.repeat(np.array([1 + 1j, -1 + 1j, -1 - 1j, 1 - 1j]), 2)), points=n)


def star():
    return points((1 + 0.3 * np.cos(8 * T)) * np.exp(1j * T))


@pytest.mark.parametrize("turn", [0, 0.7])
def test_an_ellipse_is_three_harmonics(turn):
    z = ellipse() * np.exp(1j * turn)
    descriptors = fourier_descriptors(points(z))
    assert descriptors[0] == pytest.approx((3 + 4j) * np.exp(1j * turn))
    assert abs(descriptors[1]) == pytest.approx(1.5)
    assert abs(descriptors[-1]) == pytest.approx(0.5)
    np.testing.assert_allclose(reconstruct(descriptors, {-1, 0, 1}), points(z), atol=1e-14)


def test_clockwise_contours_are_turned_round():
    z = ellipse()
    there, back = fourier_descriptors(points(z)), fourier_descriptors(points(np.roll(z[::-1], 1)))
    np.testing.assert_allclose(back, there, atol=1e-14)


def test_one_harmonic_alone_is_a_circle():
    descriptors = fourier_descriptors(points(ellipse()))
    for k, radius in ((1, 1.5), (-1, 0.5)):
        circle = reconstruct(descriptors, {k}, points=40)
        np.testing.assert_allclose(np.hypot(*circle.T), radius, atol=1e-14)


def test_the_square():
    contour = square(1024)
    size = np.abs(fourier_descriptors(contour))
    for k in (1, -3, 5, -7):
        assert size[k] == pytest.approx(8 * np.sqrt(2) / np.pi**2 / k**2, rel=1e-3)
    assert max(size[k] for k in (-1, 2, -2, 3, 4, -4, -5, 6, 7)) < 1e-12
    errors = [reconstruction_error(contour, m) for m in (1, 3, 4, 15, 25)]
    assert errors == pytest.approx([0.1389, 0.0554, 0.0554, 0.00730, 0.00355], rel=2e-3)
    every = [reconstruction_error(contour, m) for m in range(1, 40)]
    assert all(b <= a + 1e-12 for a, b in pairwise(every))


def test_the_star():
    assert reconstruction_error(star(), 4) == pytest.approx(0.2121, abs=1e-4)
    assert reconstruction_error(star(), 15) == pytest.approx(0, abs=1e-13)


def test_the_fourier_factor():
    assert fourier_factor(points(5 * np.exp(1j * T))) == pytest.approx(0, abs=1e-12)
    assert fourier_factor(points(ellipse())) == pytest.approx(0, abs=1e-12)
    assert fourier_factor(star()) == pytest.approx(0.201465, abs=1e-6)
    # The limit of many points; N points miss a tail that falls as 1/N.
    limit = 1 - 7 * zeta(3) / np.pi**2
    assert limit == pytest.approx(0.147443, abs=1e-6)
    assert fourier_factor(square(1 << 14)) == pytest.approx(limit, abs=2e-4)


def test_bad_input_is_named():
    with pytest.raises(UserError, match="7 points"):
        fourier_descriptors(np.random.default_rng(0).normal(size=(7, 2)))
    with pytest.raises(UserError, match="the same"):
        fourier_factor(np.ones((10, 2)))
    with pytest.raises(UserError, match="-5 to 5"):
        reconstruct(fourier_descriptors(np.random.default_rng(0).normal(size=(10, 2))), 6)
