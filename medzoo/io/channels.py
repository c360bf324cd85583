"""Conversion between colour and grey at the stored bit depth, and transparent pictures laid over black."""

from __future__ import annotations

import numpy as np

from medzoo.errors import UserError
from medzoo.types import Array, Image

# ITU-R BT.601-7, section 2.5.1: weights of red, green and blue in luma.
LUMA = (0.299, 0.587, 0.114)


def luma(array: Array) -> Array:
    """Luma (1, *spatial) of a colour array (3, *spatial), dtype kept (whole numbers are rounded)."""
    grey = np.tensordot(np.asarray(LUMA), array.astype(np.float64), axes=1)[None]
    if array.dtype.kind in "iu":
        grey = np.floor(grey + 0.5)
    return grey.astype(array.dtype)


def to_channels(image: Image, channels: int) -> Image:
    """Convert a picture to 1 channel (luma) or 3 (grey repeated); same dtype.

    The channels of a volume are sequences, of which none stands for another: it is returned as it is. Raises UserError
    for what has other channels.
    """
    have = image.array.shape[0]
    if have == channels:
        return image
    if image.affine is not None:
        raise UserError(
            f"holds {have} sequence{'s' * (have > 1)}, but the model takes {channels}",
            image.source,
            "give them as one input in the recipe's order, joined by commas: T1.nii.gz,FLAIR.nii.gz"
            if channels > 1
            else "give the one that the model was trained on",
        )
    if have == 3 and channels == 1:
        return image.replace(array=luma(image.array))
    if have == 1:
        return image.replace(array=np.repeat(image.array, channels, axis=0))
    raise UserError(f"has {have} channels, but the model takes {channels}", image.source)


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
