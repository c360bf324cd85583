"""Resampling of label maps from the prepared grid to the source grid.

The nearest label would move a border by up to half a voxel; of probabilities in between, the largest is where
the border lies. Slab by slab, so that memory is bounded by the source's slices and not by its number of labels.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import affine_transform

from medzoo.types import Array, GridTransform

_SLAB = 16  # slices of the source at once


def is_resampled(transform: GridTransform) -> bool:
    """Return True unless every prepared voxel is exactly one voxel of the source."""
    linear = transform.matrix[:-1, :-1]
    whole = np.rint(linear)
    one_each = np.array_equal(np.abs(whole).sum(axis=0), np.ones(len(whole)))
    offset = transform.matrix[:-1, -1]
    return not (one_each and np.allclose(linear, whole, atol=1e-6) and np.allclose(offset, np.rint(offset), atol=1e-3))


def resample_labels(maps: Array, transform: GridTransform, *, inside: Array | None = None) -> Array:
    """Return labels uint8 on the source grid from probabilities uint8 (K, *prepared), interpolated linearly.

    `inside`: bool on the source's grid, where there is a label at all; the others are 0. Prepared voxels without
    any probability say nothing, so a voxel at the edge takes the label of those that do.
    """
    shape = transform.source_shape
    labels = np.zeros(shape, np.uint8)
    matrix = transform.inverse
    for start in range(0, shape[0], _SLAB):
        rows = slice(start, min(start + _SLAB, shape[0]))
        if inside is not None and not inside[rows].any():
            continue
        part = labels[rows]
        offset = matrix[:-1, -1] + matrix[:-1, 0] * start
        best = np.zeros(part.shape, np.float32)
        for label, values in enumerate(maps):
            value = affine_transform(
                values, matrix[:-1, :-1], offset, output_shape=part.shape, output=np.float32, order=1,
                mode="grid-constant", cval=0,
            )  # fmt: skip
            better = value > best
            part[better] = label
            best[better] = value[better]
        if inside is not None:
            part[~inside[rows]] = 0
    return labels
