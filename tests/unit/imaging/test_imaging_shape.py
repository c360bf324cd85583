"""The fifteen shape features: every number of section 6, and what they must not depend on."""

import numpy as np
import pytest

from medzoo.errors import UserError
from medzoo.imaging.contour import resample, trace
from medzoo.imaging.shape import (
    SHAPE15,
    chord_lengths,
    chord_statistics,
    distance_moments,
    gupta_srinath,
    hu_moments,
    hu_moments_of_contour,
    log_moments,
    shape_features,
)  # fmt: skip

Y, X = np.indices((513, 513)) - 256.0
DISK = X**2 + Y**2 <= 200**2
ELLIPSE = (X / 240) ** 2 + (Y / 120) ** 2 <= 1
SQUARE = (np.abs(X) <= 170) & (np.abs(Y) <= 170)
RECTANGLE = (np.abs(X) < 200) & (np.abs(Y) < 100)


def ring(n=256):
    return 2 * np.pi * np.arange(n) / n


def circle(n=256):
    return np.stack([np.cos(ring(n)), np.sin(ring(n))], axis=1)


def ellipse(n=256):
    return circle(n) * [2, 1]


def square(n=256):
    return resample(np.repeat(np.array([[1.0, 1], [-1, 1], [-1, -1], [1, -1]]), 2, axis=0), points=n)


def blob(n=256):
    """A lopsided outline without any symmetry, smooth and closed."""
    t = ring(n)
    r = 1 + 0.3 * np.cos(2 * t + 0.4) + 0.2 * np.sin(3 * t) + 0.1 * np.cos(5 * t + 1)
    return np.stack([r * np.cos(t), 0.8 * r * np.sin(t)], axis=1)


@pytest.mark.parametrize(
    ("mask", "phi1", "phi2"),
    [(DISK, 0.159155, 0), (SQUARE, 1 / 6, 0), (ELLIPSE, 0.198944, 0.014248), (RECTANGLE, 0.208333, 0.015625)],
)
def test_hu_moments_of_rasters(mask, phi1, phi2):
    phi = hu_moments(mask)
    assert phi[0] == pytest.approx(phi1, rel=2e-3)
    assert phi[1] == pytest.approx(phi2, rel=1e-2, abs=1e-6)


def test_hu_moments_of_contours_are_exact():
    phi = hu_moments_of_contour(square())
    assert phi[:2] == pytest.approx([1 / 6, 0], abs=1e-12)
    assert hu_moments_of_contour(square() * [2, 1])[:2] == pytest.approx([5 / 24, 1 / 64], abs=1e-12)
    assert hu_moments_of_contour(ellipse(4096))[:2] == pytest.approx([0.198944, 0.014248], abs=1e-6)


def test_hu_moments_of_contour_and_mask_agree():
    from skimage.draw import polygon2mask

    contour = blob() * 150 + 256
    mask = polygon2mask((513, 513), contour[:, ::-1])
    np.testing.assert_allclose(hu_moments(mask), hu_moments_of_contour(contour), rtol=0.02)


def test_spacing_stretches_the_mask():
    thin = ELLIPSE[::2]  # every second row: a disk-like raster whose pixels are two high
    np.testing.assert_allclose(hu_moments(thin, spacing=(2.0, 1.0))[:2], hu_moments(ELLIPSE)[:2], rtol=0.01)
    np.testing.assert_allclose(hu_moments(ELLIPSE, spacing=(0.3, 0.3)), hu_moments(ELLIPSE), rtol=1e-9)


def test_log_moments_keep_the_sign():
    assert log_moments(np.array([0.01, -0.01, 0.0])).tolist() == pytest.approx([-2, 2, -30])


def test_distance_moments():
    assert distance_moments(circle()) == pytest.approx((0, 0, 0), abs=1e-5)
    assert distance_moments(square(4096)) == pytest.approx((0.109870, 0.088643, 0.130313), abs=1e-5)
    assert gupta_srinath(square(4096)) == pytest.approx((0.109870, 0.525173, 1.978980), abs=1e-4)
    assert distance_moments(ellipse()) == pytest.approx((0.226840, -0.127443, 0.253081), abs=1e-6)
    with pytest.raises(UserError, match="F2"):
        gupta_srinath(circle())


def test_chords_of_a_circle():
    chords = chord_lengths(3 * circle())
    assert len(chords) == 256 * 255 // 2
    assert chords.mean() / 3 == pytest.approx(2 / np.tan(np.pi / 512) / 255, rel=1e-12)
    assert chords.mean() / 3 == pytest.approx(1.278217, abs=1e-6)
    mean, spread, skewness, kurtosis = chord_statistics(circle(2048))
    assert mean == pytest.approx(2 / np.pi, rel=1e-3)
    assert (spread, skewness, kurtosis) == pytest.approx((0.307758, -0.497160, 1.931535), rel=5e-3)


def test_chords_of_a_square():
    chords = chord_lengths(square(1024))
    assert chords.mean() == pytest.approx(1.471622, abs=1e-6)
    assert chords.var() == pytest.approx(0.503623, abs=1e-6)
    mean, _, skewness, kurtosis = chord_statistics(square(1024))
    assert (mean, skewness, kurtosis) == pytest.approx((0.520297, -0.420330, 1.992336), abs=1e-6)


@pytest.mark.parametrize("change", ["move", "turn", "scale", "start"])
def test_invariance_of_the_fifteen_on_an_analytic_contour(change):
    contour = blob()
    turn = np.array([[np.cos(1.1), -np.sin(1.1)], [np.sin(1.1), np.cos(1.1)]])
    moved = {
        "move": contour + np.array([31.0, -17.5]),
        "turn": contour @ turn.T,
        "scale": contour * 37.0,
        "start": np.roll(contour, 71, axis=0),
    }[change]
    before, after = shape_features(contour), shape_features(moved)
    assert tuple(before) == SHAPE15
    np.testing.assert_allclose(list(after.values()), list(before.values()), atol=1e-8, rtol=0)


def test_a_mirror_flips_phi7_only():
    before, after = hu_moments_of_contour(blob()), hu_moments_of_contour(blob() * [-1, 1])
    np.testing.assert_allclose(after, before * [1, 1, 1, 1, 1, 1, -1], rtol=1e-9)
    assert abs(before[6]) > 1e-8
    named, mirrored = shape_features(blob()), shape_features(blob() * [-1, 1])
    differs = [n for n in SHAPE15 if named[n] != pytest.approx(mirrored[n], abs=1e-8)]
    assert differs == ["phi7"]


def test_invariance_on_rasters():
    def raster(scale, turn):
        from skimage.draw import polygon2mask

        c, s = np.cos(turn), np.sin(turn)
        contour = blob() @ np.array([[c, -s], [s, c]]).T * scale + 256
        mask = polygon2mask((513, 513), contour[:, ::-1])
        return shape_features(trace(mask), mask)

    base = raster(150, 0.0)
    for scale, turn in ((75, 0.0), (150, 0.9), (120, 2.2)):
        other = raster(scale, turn)
        for name in SHAPE15:
            assert other[name] == pytest.approx(base[name], rel=0.05, abs=0.01), name


def test_degenerate_outlines_name_the_feature():
    line = np.stack([np.arange(16.0), np.zeros(16)], axis=1)
    with pytest.raises(UserError, match="phi1"):
        shape_features(line)
    with pytest.raises(UserError, match="7 points"):
        shape_features(circle(7))
    with pytest.raises(UserError, match="empty"):
        shape_features(circle(), np.zeros((9, 9)))
