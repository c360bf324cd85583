"""Shape features of an outline: moments, distances, chords, and the fifteen in their order.

Knows numpy, scipy, scikit-image, medzoo.errors, and contour and fourier of this room.
"""

from __future__ import annotations

import numpy as np

from medzoo.boxes import bounding_box
from medzoo.errors import UserError
from medzoo.imaging.contour import check_contour
from medzoo.imaging.fourier import fourier_factor
from medzoo.types import Array

SHAPE15 = (
    "phi1", "phi2", "phi3", "phi4", "phi5", "phi6", "phi7",
    "f1", "f2", "f3", "Mc1", "Mc2", "Mc3", "Mc4", "ff",
)  # fmt: skip
_LEAST = 1e-30  # stands for a moment of exactly 0, whose logarithm is not finite


def hu_moments(mask: Array, *, spacing: tuple[float, float] = (1.0, 1.0)) -> Array:
    """Hu's seven invariant moments of a mask (H, W): (7,), by scikit-image.

    spacing: height and width of a pixel. Source: Hu, IRE Trans. Information Theory 8 (1962).
    Raises UserError for an empty mask.
    """
    from skimage.measure import moments_central, moments_hu, moments_normalized

    mask = np.asarray(mask) != 0
    block = bounding_box(mask)
    if block is None:
        raise UserError("the mask is empty", "phi1")
    crop = mask[block].astype(np.float64)
    if spacing[0] == spacing[1]:
        return np.asarray(moments_hu(moments_normalized(moments_central(crop, order=3), order=3)))
    central = moments_central(crop, order=3, spacing=spacing) * (spacing[0] * spacing[1])
    return np.asarray(moments_hu(_normalised(central)))


def hu_moments_of_contour(contour: Array) -> Array:
    """Hu's seven moments of the area inside a closed polygon (N, 2): (7,), exact, by Green's theorem."""
    from skimage.measure import moments_hu

    contour = check_contour(contour)
    area = _polygon_moment(contour, 0, 0)
    if area == 0:
        raise UserError("the contour encloses no area", "phi1")
    centre = np.array([_polygon_moment(contour, 1, 0), _polygon_moment(contour, 0, 1)]) / area
    size = np.sqrt(abs(area))
    unit = (contour - centre) / size
    sign = np.sign(area)
    # moments_hu reads mu[p, q] with p along rows, so y comes first.
    mu = np.array([[sign * _polygon_moment(unit, q, p) for q in range(4)] for p in range(4)])
    return np.asarray(moments_hu(_normalised(mu)))


def _normalised(central: Array) -> Array:
    order = np.add.outer(np.arange(4), np.arange(4))
    normalised: Array = central / central[0, 0] ** (1 + order / 2)
    return normalised


def _polygon_moment(contour: Array, p: int, q: int) -> float:
    """Integral of x^p y^q over a polygon: the line integral of x^(p+1) y^q / (p+1) dy, edge by edge.

    Three Gauss points an edge are exact to degree 5; p + q <= 3 needs degree 4.
    """
    nodes, weights = np.polynomial.legendre.leggauss(3)
    step = np.roll(contour, -1, axis=0) - contour
    at = contour[:, None, :] + step[:, None, :] * ((nodes + 1) / 2)[None, :, None]
    values = at[..., 0] ** (p + 1) * at[..., 1] ** q * step[:, None, 1]
    return float((values @ (weights / 2)).sum() / (p + 1))


def log_moments(phi: Array) -> Array:
    """sign(phi) log10 |phi| of moments (7,); one of exactly 0 counts as 1e-30."""
    phi = np.where(np.abs(phi) < _LEAST, _LEAST, phi)
    return np.asarray(np.sign(phi) * np.log10(np.abs(phi)))


def distance_moments(contour: Array) -> tuple[float, float, float]:
    """f1, f2, f3 of the distances d to the centroid of a contour's points (N, 2).

    sqrt(M2)/m1, cbrt(M3)/m1 (signed), M4^(1/4)/m1, with M_p the central moments of d and m1 its mean.
    Source: Shen, Rangayyan, Desautels, IEEE Trans. Medical Imaging 13 (1994) 263.
    """
    m1, m2, m3, m4 = _distance_moments(contour)
    return m2**0.5 / m1, float(np.cbrt(m3)) / m1, m4**0.25 / m1


def gupta_srinath(contour: Array) -> tuple[float, float, float]:
    """F1 = sqrt(M2)/m1, F2 = M3/M2^1.5, F3 = M4/M2^2 (Gupta and Srinath, Pattern Recognition 20, 1987).

    Raises UserError for a circle, whose F2 and F3 are not defined.
    """
    m1, m2, m3, m4 = _distance_moments(contour)
    if m2 < 1e-24 * m1 * m1:
        raise UserError("the distances to the centroid are all the same", "F2")
    return m2**0.5 / m1, m3 / m2**1.5, m4 / m2**2


def _distance_moments(contour: Array) -> tuple[float, float, float, float]:
    contour = check_contour(contour)
    d = np.hypot(*(contour - contour.mean(axis=0)).T)
    m1 = float(d.mean())
    if m1 == 0:
        raise UserError("all points of the contour are the same", "f1")
    away = d - m1
    return m1, float((away**2).mean()), float((away**3).mean()), float((away**4).mean())


def chord_lengths(contour: Array) -> Array:
    """All N (N - 1) / 2 distances between the points of a contour (N, 2), in its unit."""
    import scipy.spatial  # noqa: F401  (the whole first: threads import at once)
    from scipy.spatial.distance import pdist

    return np.asarray(pdist(check_contour(contour)))


def chord_statistics(contour: Array) -> tuple[float, float, float, float]:
    """Mc1 to Mc4: mean, standard deviation, skewness, kurtosis (not excess) of the chords over the longest.

    Source: You and Jain, Computer Vision, Graphics and Image Processing 28 (1984).
    """
    chords = chord_lengths(contour)
    if chords.max() == 0:
        raise UserError("all points of the contour are the same", "Mc1")
    chords = chords / chords.max()
    mean = chords.mean()
    away = chords - mean
    square = away * away
    variance = square.mean()
    skewness = (square * away).mean() / variance**1.5
    return float(mean), float(variance**0.5), float(skewness), float((square * square).mean() / variance**2)


def shape_features(
    contour: Array, mask: Array | None = None, *, spacing: tuple[float, float] = (1.0, 1.0)
) -> dict[str, float]:
    """The fifteen shape features by name, in the order of SHAPE15.

    contour: (N, 2) in pixels of the mask, points at equal arc lengths (N = 256: ff depends on it). The
    moments are those of `mask` (H, W), or of the polygon's inside where no mask is given. `spacing`:
    height and width of a pixel; both scale the contour too. Raises UserError naming the feature that is
    not finite.
    """
    contour = check_contour(contour) * np.array([spacing[1], spacing[0]])
    phi = hu_moments_of_contour(contour) if mask is None else hu_moments(mask, spacing=spacing)
    values = [
        *log_moments(phi),
        *distance_moments(contour),
        *chord_statistics(contour),
        fourier_factor(contour),
    ]
    named = {name: float(value) for name, value in zip(SHAPE15, values, strict=True)}
    for name, value in named.items():
        if not np.isfinite(value):
            raise UserError(f"the feature {name} is not finite", name, "the outline is degenerate")
    return named
