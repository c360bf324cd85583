"""Overlap and surface distance of two binary masks in physical units. Knows arrays and spacing alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree

from medzoo.types import Array

TOLERANCE = 1.0


def compare_masks(
    truth: Array,
    prediction: Array,
    *,
    spacing: Sequence[float],
    diagonal: float,
    tolerance: float = TOLERANCE,
    surfaces: bool = True,
) -> dict[str, float]:
    """Scores of one label by name: two bool arrays of one shape (2D or 3D), spacing per axis.

    A surface is the voxels of a mask with a face neighbour outside it (beyond the array is outside), at their
    centres; distances run from each surface's voxels to the nearest of the other's:
    `hd95` the larger of the two directed 95th percentiles, `assd` the mean over both surfaces' voxels
    together, `surface-dice` the share of both surfaces' voxels within `tolerance` of the other (Nikolov et
    al., JMIR 23:e26151, 2021, counted in voxels). `volume-error`: |difference| in spacing units.
    Both empty: every score is NaN (the label is not there to be scored). One empty: overlaps are 0 and
    distances are `diagonal`, the image's own, which no pair of surfaces in it can exceed. Without `surfaces`
    the three that need distances are left out.
    """
    t, p = int(truth.sum()), int(prediction.sum())
    both = int(np.logical_and(truth, prediction).sum())
    scores = {
        "dice": 2 * both / max(1, t + p),
        "jaccard": both / max(1, t + p - both),
        "volume-error": abs(t - p) * float(np.prod(spacing)),
    }
    if surfaces:
        scores |= {"hd95": diagonal, "assd": diagonal, "surface-dice": 0.0}
    if not t and not p:
        return dict.fromkeys(scores, float("nan"))
    if surfaces and t and p:
        there, back = surface_distances(truth, prediction, spacing=spacing)
        together = np.concatenate([there, back])
        scores["hd95"] = float(max(np.quantile(there, 0.95), np.quantile(back, 0.95)))
        scores["assd"] = float(together.mean())
        scores["surface-dice"] = float(np.mean(together <= tolerance))
    return scores


def surface_distances(truth: Array, prediction: Array, *, spacing: Sequence[float]) -> tuple[Array, Array]:
    """Distances from the prediction's surface voxels to the truth's surface, and from the truth's to the
    prediction's; neither mask may be empty. Memory grows with the surfaces, not with the volume."""
    points = [np.argwhere(mask & ~binary_erosion(mask)) * np.asarray(spacing, float) for mask in (truth, prediction)]
    (there, _), (back, _) = cKDTree(points[0]).query(points[1]), cKDTree(points[1]).query(points[0])
    return there, back
