"""Transparent pictures laid over black."""

from __future__ import annotations

import numpy as np

from medzoo.types import Array

_ROWS = 64  # at a time: floating point takes eight times the memory of the picture


def over_black(rgba: Array, *, grey: bool = False) -> Array:
    """Colours (H, W, 4), red, green, blue and opacity, as (3, H, W) over black; (1, H, W) for `grey`. dtype kept.

    What is transparent holds no tissue. Full opacity is the largest value of an unsigned type of 8 or 16 bits; of any
    other type 1, 255 or 65535, whichever is the first that no opacity exceeds.
    """
    full = _full(rgba)
    flat = np.empty((1 if grey else 3, *rgba.shape[:2]), rgba.dtype)
    for top in range(0, rgba.shape[0], _ROWS):
        rows = slice(top, top + _ROWS)
        opacity = rgba[rows, :, 3] / full
        for channel, out in enumerate(flat):
            seen = rgba[rows, :, channel] * opacity
            out[rows] = seen if rgba.dtype.kind == "f" else np.floor(seen + 0.5)
    return flat


def _full(rgba: Array) -> float:
    if rgba.dtype in (np.uint8, np.uint16):
        return float(np.iinfo(rgba.dtype).max)
    highest = float(rgba.max())
    return 1.0 if rgba.dtype.kind == "f" and highest <= 1 else 255.0 if highest <= 255 else 65535.0
