"""Colours that colour-blind readers can tell apart, and grey values for the screen."""

from __future__ import annotations

import numpy as np

from medzoo.types import Array

Colour = tuple[int, int, int]

# Okabe and Ito, "Color Universal Design" (2008), without black; the order keeps neighbours far apart.
PALETTE: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (204, 121, 167),
    (213, 94, 0),
    (0, 114, 178),
)
BACKGROUND: Colour = (0, 0, 0)
INK: Colour = (235, 235, 235)
FAINT: Colour = (150, 150, 150)


def colour_of(index: int) -> Colour:
    """The colour of the `index`th thing drawn, from 0; they repeat after seven."""
    return PALETTE[index % len(PALETTE)]


def grey_window(array: Array) -> tuple[float, float]:
    """Lowest and highest value to show: the percentiles 0.5 and 99.8 of all that is not zero."""
    some = array.ravel()[:: max(1, array.size // 1_000_000)]
    some = some[some != 0]
    if not some.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(some, [0.5, 99.8]))
    # A scan whose darkest tissue is near zero is shown from zero on, so that the outside stays black.
    low = 0.0 if 0 < low < 0.2 * high else low
    return low, (high if high > low else low + 1)


def to_bytes(array: Array, window: tuple[float, float]) -> Array:
    """uint8 of the same shape: `window` to 0 to 255."""
    low, high = window
    scaled = (np.asarray(array, np.float32) - low) * (255 / (high - low))
    shown: Array = np.clip(scaled + 0.5, 0, 255).astype(np.uint8)
    return shown
