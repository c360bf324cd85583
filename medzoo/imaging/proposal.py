"""Propose where a mass may lie: dark (or bright) blobs of an image, scored. Knows numpy, scipy and scikit-image.

Thresholds of the smoothed image less its local background give nested blobs; each is scored by what makes
a mass on an ultrasound picture: it stands out from its ring, has a steep edge, fills an ellipse, lies near
the middle and above the lower half, and is not cut off by the border. The weights were set on BUSI by the
Dice overlap with the expert's outline alone; no label of benign or malignant went into them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from medzoo.types import Array

_SIDE = 160  # pixels along the longer side of the grid on which blobs are sought
_QUANTILES = (8, 18, 28, 38, 48, 58)  # percent of the pixels; more of them find nothing better
_AREA = (0.003, 0.5)  # of the image


class Proposal(NamedTuple):
    """A blob on the coarse grid (h, w), and how much it looks like a mass."""

    mask: Array
    score: float


def propose(dark: Array, *, seed: tuple[float, float] | None = None) -> tuple[Array, float] | None:
    """The best blob of an image (H, W) in which masses are dark: its mask (H, W) and score; None if none.

    seed: (x, y) that the blob must hold.
    """
    from skimage.transform import resize

    height, width = dark.shape
    scale = min(1.0, _SIDE / max(height, width))
    shape = (max(1, round(height * scale)), max(1, round(width * scale)))
    small = resize(dark, shape, order=1, anti_aliasing=scale < 1)
    best: Proposal | None = None
    for proposal in blobs(small):
        if seed is not None:
            row = min(shape[0] - 1, int(seed[1] * scale))
            col = min(shape[1] - 1, int(seed[0] * scale))
            if not proposal.mask[row, col]:
                continue
        if best is None or proposal.score > best.score:
            best = proposal
    if best is None or best.score <= 0:
        return None
    grown = resize(best.mask.astype(np.float64), dark.shape, order=1) > 0.5
    return grown, best.score


def blobs(small: Array) -> list[Proposal]:
    """All scored blobs of a small image (h, w)."""
    from scipy.ndimage import (
        binary_fill_holes,
        binary_opening,
        find_objects,
        gaussian_filter,
        gaussian_gradient_magnitude,
        label,
        median_filter,
    )  # fmt: skip

    spread = float(small.std())
    if spread == 0:
        return []
    unit = max(small.shape) / _SIDE
    smooth = gaussian_filter(median_filter(small, 5), 1.5 * unit)
    edge_strength = gaussian_gradient_magnitude(small, 1.5 * unit) / spread
    low, high = _AREA[0] * small.size, _AREA[1] * small.size
    found: list[Proposal] = []
    for reach in (16 * unit, 32 * unit):
        relative = smooth - gaussian_filter(smooth, reach)
        for threshold in np.percentile(relative, _QUANTILES):
            parts, _ = label(binary_opening(relative < threshold, iterations=2))
            for k, where in enumerate(find_objects(parts), 1):
                inside = binary_fill_holes(parts[where] == k)
                if low < inside.sum() < high:
                    score = _score(small, edge_strength, inside, where, spread)
                    mask = np.zeros(small.shape, bool)
                    mask[where] = inside
                    found.append(Proposal(mask, score))
    return found


def _score(small: Array, edge_strength: Array, inside: Array, where: tuple[slice, ...], spread: float) -> float:
    """Score how much a blob looks like a mass; `inside`: its mask in the window `where`, holes filled."""
    from scipy.ndimage import binary_erosion, distance_transform_edt

    height, width = small.shape
    area = int(inside.sum())
    rows, cols = np.nonzero(inside)
    y, x = (rows.mean() + where[0].start) / height, (cols.mean() + where[1].start) / width
    edge = inside & ~binary_erosion(inside)
    length = int(edge.sum())
    top = int(inside[0].sum()) if where[0].start == 0 else 0
    bottom = int(inside[-1].sum()) if where[0].stop == height else 0
    sides = (int(inside[:, 0].sum()) if where[1].start == 0 else 0) + (
        int(inside[:, -1].sum()) if where[1].stop == width else 0
    )
    cut = (2 * sides + 4 * bottom + top) / length
    reach = max(2, int(np.sqrt(area / np.pi) / 2))
    wide = [slice(max(0, s.start - reach), s.stop + reach) for s in where]
    pads = [(s.start - w.start, min(n, w.stop) - s.stop) for s, w, n in zip(where, wide, small.shape, strict=True)]
    away = distance_transform_edt(~np.pad(inside, pads))
    ring = (away > 0) & (away <= reach)
    if cut >= 1 or not ring.any():
        return 0.0
    contrast = float(small[tuple(wide)][ring].mean() - small[where][inside].mean()) / spread
    if contrast <= 0:
        return 0.0
    # 1 for a filled ellipse: its area follows from the spread of its points.
    ellipse = area / (4 * np.pi * np.sqrt(max(float(np.linalg.det(np.cov(rows, cols))), 1e-9)))
    place = np.exp(-(((x - 0.5) / 0.3) ** 2) / 2 - ((y - 0.35) / 0.22) ** 2 / 2)
    size = min(1.0, area / (0.06 * small.size)) ** 0.3
    steep = float(edge_strength[where][edge].mean())
    return float(contrast**1.5 * steep * place * size * min(ellipse, 1.0) * (1 - cut))
