"""Linear interpolation to another shape, corners aligned."""

from __future__ import annotations

import numpy as np

from medzoo.types import Array


def stretch(field: Array, shape: tuple[int, ...]) -> Array:
    """Resize `field` to `shape` by linear interpolation along each axis, corners aligned; float32.

    Not as products of matrices: how a machine adds those up depends on its threads, and a scan must not.
    """
    field = np.ascontiguousarray(field, np.float32)
    # The last axis first: what is copied into its place is still small.
    for axis in reversed(range(field.ndim)):
        old, new = field.shape[axis], shape[axis]
        place = np.linspace(0, old - 1, new)
        low = np.minimum(place.astype(np.intp), max(old - 2, 0))
        share = (place - low).astype(np.float32).reshape(-1, *[1] * (field.ndim - 1 - axis))
        found = field.take(low, axis=axis)
        found *= 1 - share
        other = field.take(np.minimum(low + 1, old - 1), axis=axis)
        other *= share
        found += other
        field = found
    return field
