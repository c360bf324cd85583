"""Features of a mass's outline alone: roundness, spiculation, orientation. Knows numpy, scipy and contour."""

from __future__ import annotations

import numpy as np

from medzoo.errors import UserError
from medzoo.imaging.contour import check_contour, contour_area, contour_length
from medzoo.types import Array

OUTLINE = (
    "circularity", "solidity", "convexity", "elongation", "height_over_width", "extent",
    "radial_entropy", "radial_crossings", "roughness", "lobes",
)  # fmt: skip


def outline_features(contour: Array) -> dict[str, float]:
    """Ten numbers of an outline (N, 2) that depend neither on its size nor on its place.

    circularity 4 pi A / P^2; solidity A / convex hull's A; convexity hull's P / P; elongation: root of the
    ratio of the points' variances along their axes; height_over_width and extent: of the upright
    bounding box (a mass taller than wide is suspect on ultrasound); radial_entropy (bits, 16 bins) and
    radial_crossings (of the mean, per point) of the distances to the centroid, roughness: their mean step
    over their mean (Kilday, Palmieri, Fox, IEEE TMI 12, 1993); lobes: share of the radial distance's
    energy in harmonics above 4. Raises UserError for an outline without area.
    """
    from scipy.spatial import ConvexHull, QhullError

    contour = check_contour(contour)
    area, length = contour_area(contour), contour_length(contour)
    try:
        hull = ConvexHull(contour)
    except QhullError as error:
        raise UserError("the contour encloses no area", "solidity") from error
    away = contour - contour.mean(axis=0)
    small, large = np.linalg.eigvalsh(away.T @ away)
    width, height = np.ptp(contour, axis=0)
    d = np.hypot(*away.T)
    relative = d / d.mean()
    share = np.histogram(relative, 16)[0] / len(d)
    above = relative > 1
    spectrum = np.abs(np.fft.rfft(relative - 1)) ** 2
    energy = spectrum[1:].sum()
    return {
        "circularity": 4 * np.pi * area / length**2,
        "solidity": area / float(hull.volume),
        "convexity": float(hull.area) / length,
        "elongation": float(np.sqrt(max(small, 0.0) / large)),
        "height_over_width": float(height / width),
        "extent": area / float(width * height),
        "radial_entropy": float(-(share[share > 0] * np.log2(share[share > 0])).sum()),
        "radial_crossings": float(np.count_nonzero(above != np.roll(above, 1)) / len(d)),
        "roughness": float(np.abs(relative - np.roll(relative, 1)).mean()),
        "lobes": float(spectrum[5:].sum() / energy) if energy > 0 else 0.0,
    }
