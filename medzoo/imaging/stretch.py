"""An array brought to another grid, ends on ends."""

from __future__ import annotations

import numpy as np

from medzoo.types import Array


def stretch(field: Array, shape: tuple[int, ...]) -> Array:
    """`field` at `shape` by linear interpolation along one axis after the other, ends on ends; float32.

    Each axis is a matrix product: the matrix has two numbers a row, but products are what a machine does fastest.
    """
    field = np.ascontiguousarray(field, np.float32)
    # The last axis first: what is copied into its place is still small.
    field = field @ _weights(field.shape[-1], shape[-1]).T
    for axis in reversed(range(field.ndim - 1)):
        before, old, behind = field.shape[:axis], field.shape[axis], field.shape[axis + 1 :]
        columns = field.reshape(*before, old, -1)
        field = (_weights(old, shape[axis]) @ columns).reshape(*before, shape[axis], *behind)
    return field


def _weights(old: int, new: int) -> Array:
    """(new, old): what each new value takes of each old one."""
    place = np.linspace(0, old - 1, new)
    low = np.minimum(place.astype(np.intp), max(old - 2, 0))
    weights = np.zeros((new, old), np.float32)
    rows = np.arange(new)
    weights[rows, low] = 1 - (place - low)
    weights[rows, np.minimum(low + 1, old - 1)] += place - low
    return weights
