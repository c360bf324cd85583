"""Holes of a mask."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_closing, binary_dilation, label

from medzoo.types import Array


def holes(mask: Array) -> Array:
    """The holes of `mask` (2D or 3D) as a bool array: background not connected to the edge (face connectivity).

    Also those that only a leak of one or two voxels joins to it: the noise that made the hole tends to.
    """
    mask = np.asarray(mask, bool)
    around = np.pad(mask, 2)
    closed = binary_closing(around)
    found = _enclosed(~around) | (binary_dilation(_enclosed(~closed)) & ~around)
    result: Array = found[(slice(2, -2),) * mask.ndim]
    return result


def _enclosed(empty: Array) -> Array:
    """The components of `empty` other than the one in the corner."""
    parts, _ = label(empty)
    result: Array = empty & (parts != parts[(0,) * parts.ndim])
    return result
