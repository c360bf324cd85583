"""Ratios and means that stay undefined (NaN) where there is nothing to divide by. Knows nothing else."""

from __future__ import annotations

import numpy as np

from medzoo.types import Array


def ratio(numerator: Array, denominator: Array) -> Array:
    """numerator / denominator where the denominator is positive, NaN elsewhere."""
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Array = np.where(denominator > 0, numerator / denominator, np.nan)
    return result


def defined_mean(values: Array) -> Array:
    """Mean over the last axis of the entries that are not NaN; NaN where there are none."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0.0).sum(axis=-1), known.sum(axis=-1))
