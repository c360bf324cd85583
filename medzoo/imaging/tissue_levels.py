"""Bias field and tissue intensities of a brain-extracted T1-weighted scan, estimated together.

Wells, Grimson, Kikinis, Jolesz, IEEE Transactions on Medical Imaging 15:429 (1996): expectation and
maximisation take turns at the tissue of every voxel and at the smooth field that multiplies the scan. Here
with three tissues, on a coarse grid, with the field as a ratio of smoothed sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from medzoo.imaging.resize import stretch
from medzoo.types import Array

_COARSE = 3.0  # millimetres between the voxels that are looked at
_ENOUGH = 2000  # of them; where there are fewer, every voxel is looked at
_REACH = 25.0  # millimetres, standard deviation of the smoothing that the field survives
_ROUNDS, _BEFORE_FIELD = 16, 3
_MOST = 0.7  # largest logarithm of the field
# To begin with, fluid, grey and white: shares, and intensities as multiples of white.
_SHARES = np.array([0.2, 0.44, 0.36], np.float32)
_MEANS = np.array([0.3, 0.72, 1.0], np.float32)
_WIDTHS = np.array([0.15, 0.1, 0.1], np.float32)
_NARROWEST, _WIDEST = np.array([0.05, 0.03, 0.03], np.float32), 0.15


@dataclass(frozen=True, eq=False)
class TissueLevels:
    """`field`: float32 (I, J, K) around 1 that multiplies the scan; `fluid`, `grey`, `white`: intensities without."""

    field: Array
    fluid: float
    grey: float
    white: float


def tissue_levels(scan: Array, spacing: tuple[float, ...]) -> TissueLevels:
    """Estimate the levels of a scan (I, J, K), 0 outside the brain, voxels `spacing` mm apart, fluid < grey < white.

    Raises ValueError where what is above 0 is nothing, or all the same.
    """
    strides = [max(1, min(round(_COARSE / step), n)) for step, n in zip(spacing, scan.shape, strict=True)]
    coarse = np.asarray(scan[tuple(slice(s // 2, None, s) for s in strides)], np.float32)
    if np.count_nonzero(coarse > 0) < _ENOUGH:
        strides, coarse = [1, 1, 1], np.asarray(scan, np.float32)
    inside = coarse > 0
    values = coarse[inside]
    if not len(values) or np.ptp(values) <= 1e-6 * float(values.max()):
        raise ValueError("no value is above zero, or all are equal")
    sigma = [_REACH / (step * stride) for step, stride in zip(spacing, strides, strict=True)]
    white = float(np.quantile(values, 0.9))
    values = np.minimum(values, 1.5 * white)  # vessels and rests of fat
    shares, means, widths = _SHARES, _MEANS * white, _WIDTHS * white
    field = np.ones_like(coarse)
    seen, expected = np.zeros_like(coarse), np.zeros_like(coarse)
    for turn in range(_ROUNDS):
        flat = (values / field[inside])[:, None]
        odds = shares / widths * np.exp(-0.5 * ((flat - means) / widths) ** 2)
        odds /= np.maximum(odds.sum(axis=1, keepdims=True), 1e-12)
        weight = odds.sum(axis=0) + 1e-3
        means = _in_order((odds * flat).sum(axis=0) / weight)
        widths = np.sqrt((odds * (flat - means) ** 2).sum(axis=0) / weight)
        widths = np.clip(widths, _NARROWEST * means[2], _WIDEST * means[2])
        # Fluid may be all but absent, grey and white matter not.
        shares = np.maximum(weight / weight.sum(), [0.01, 0.2, 0.2]).astype(np.float32)
        if turn >= _BEFORE_FIELD:
            # Fluid says little of the field: it is dark, thin, and at the edge.
            seen[inside] = values * (odds[:, 1:] @ means[1:])
            expected[inside] = odds[:, 1:] @ means[1:] ** 2
            field = gaussian_filter(seen, sigma, mode="constant") + 1e-3 * white**2
            field /= gaussian_filter(expected, sigma, mode="constant") + 1e-3 * white**2
            field = np.clip(np.log(field), -_MOST, _MOST)
            field = np.exp(field - field[inside].mean())
    return TissueLevels(stretch(field, scan.shape), *map(float, means))


def _in_order(means: Array) -> Array:
    """Keep the three classes in order, also one that hardly occurs."""
    white = means[2]
    grey = np.clip(means[1], 0.45 * white, 0.9 * white)
    fluid = np.clip(means[0], 0.02 * white, grey - 0.15 * white)
    return np.array([fluid, grey, white], np.float32)
