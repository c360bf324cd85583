"""An array brought to another grid, ends on ends."""

from __future__ import annotations

import numpy as np

from medzoo.types import Array


def stretch(field: Array, shape: tuple[int, ...]) -> Array:
    """`field` at `shape` by linear interpolation along one axis after the other, ends on ends."""
    for axis, n in enumerate(shape):
        place = np.linspace(0, field.shape[axis] - 1, n, dtype=np.float32)
        low = np.minimum(place.astype(np.intp), max(field.shape[axis] - 2, 0))
        weight = (place - low).reshape([-1 if a == axis else 1 for a in range(field.ndim)])
        first = np.take(field, low, axis=axis)
        field = first + weight * (np.take(field, np.minimum(low + 1, field.shape[axis] - 1), axis=axis) - first)
    return field.astype(np.float32)
