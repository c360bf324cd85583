"""Histogram equalisation, plain and contrast limited. Knows numpy, scikit-image and medzoo.errors."""

from __future__ import annotations

from typing import Literal

import numpy as np

from medzoo.errors import UserError
from medzoo.types import Array

Method = Literal["textbook", "opencv"]


def histogram(image: Array, *, levels: int) -> Array:
    """Count each of the values 0 to levels - 1 in an integer image: (levels,) int64.

    Raises UserError for values outside that range.
    """
    values = np.asarray(image).ravel()
    if values.dtype.kind not in "bui" or (values.size and (values.min() < 0 or values.max() >= levels)):
        raise UserError(f"a histogram of {levels} levels takes whole numbers from 0 to {levels - 1}")
    return np.bincount(values.astype(np.intp), minlength=levels)


def equalisation_map(counts: Array, *, method: Method = "textbook") -> Array:
    """The level that each of the L levels of a histogram `counts` (L,) is sent to: (L,) int64.

    textbook: round((L-1) cdf) (Gonzalez and Woods, Digital Image Processing, 3.3).
    opencv: round((L-1) (cdf - cdf_min) / (n - cdf_min)) with counts as cdf, as cv2.equalizeHist does.
    Halves round up. Raises UserError where only one level occurs.
    """
    counts = np.asarray(counts)
    if np.count_nonzero(counts) < 2:
        raise UserError("a constant image cannot be equalised")
    cumulated = np.cumsum(counts)
    n, top = int(cumulated[-1]), len(counts) - 1
    if method == "textbook":
        scaled = top * cumulated / n
    elif method == "opencv":
        first = int(counts[np.flatnonzero(counts)[0]])
        scaled = top * np.maximum(cumulated - first, 0) / (n - first)
    else:
        raise UserError(f"{method!r} is not one of textbook, opencv", "method")
    return np.floor(scaled + 0.5).astype(np.int64)


def equalise(
    image: Array,
    *,
    method: Method = "textbook",
    levels: int | None = None,
    bins: int | None = None,
    window: tuple[float, float] | None = None,
) -> Array:
    """`image` with its histogram flattened.

    uint8 and uint16 images keep their dtype; `levels` (256 and 65536 unless given) is the number of grey
    values and `bins` how many bins they are counted in (all levels unless given). Anything else, such as
    CT in Hounsfield units, needs a `window` (low, high) first, which is cut into `bins` (256) levels and
    comes back as uint8 (uint16 above 256 bins). Raises UserError for a constant image.
    """
    image = np.asarray(image)
    if window is not None:
        bins = bins or 256
        small = np.uint8 if bins <= 256 else np.uint16
        return equalise(_windowed(image, window, bins).astype(small), method=method, levels=bins)
    if image.dtype not in (np.uint8, np.uint16):
        raise UserError(
            f"an image of {image.dtype} has no fixed grey levels to equalise",
            hint="give the window (low, high) of values to keep",
        )
    levels = levels or (256 if image.dtype == np.uint8 else 65536)
    bins = bins or levels
    counts = histogram(image, levels=levels)
    if bins < 2 or bins > levels:
        raise UserError(f"{levels} grey levels cannot be counted in {bins} bins", "bins")
    bin_of = np.arange(levels) * bins // levels
    to = equalisation_map(np.bincount(bin_of, weights=counts, minlength=bins).astype(np.int64), method=method)
    table = np.floor(to[bin_of] * ((levels - 1) / (bins - 1)) + 0.5)
    return table.astype(image.dtype)[image]


def _windowed(image: Array, window: tuple[float, float], bins: int) -> Array:
    low, high = window
    if not low < high:
        raise UserError(f"the window's low, {low}, must be below its high, {high}", "window")
    part = (np.clip(image.astype(np.float64), low, high) - low) / (high - low)
    return np.minimum(np.floor(part * bins), bins - 1)


def clahe(image: Array, *, tiles: int = 8, clip_limit: float = 0.01, bins: int | None = None) -> Array:
    """Contrast-limited adaptive equalisation (Zuiderveld 1994) by scikit-image; same shape and dtype.

    tiles: blocks along each side; clip_limit: 0 to 1, higher is stronger; bins: 256, or 4096 above 8 bit.
    The result spans the dtype's range (integers) or the image's own range (floats). Raises UserError for
    a constant image.
    """
    from skimage.exposure import equalize_adapthist

    image = np.asarray(image)
    low, high = float(image.min()), float(image.max())
    if low == high:
        raise UserError("a constant image cannot be equalised")
    block = tuple(max(1, -(-n // tiles)) for n in image.shape)
    flat = (image.astype(np.float64) - low) / (high - low)
    bins = bins or (256 if image.dtype.itemsize == 1 else 4096)
    out = equalize_adapthist(flat, kernel_size=block, clip_limit=clip_limit, nbins=bins)
    if image.dtype.kind in "ui":
        info = np.iinfo(image.dtype)
        out = np.floor(info.min + out * (float(info.max) - info.min) + 0.5)
    else:
        out = low + out * (high - low)
    return np.asarray(out, image.dtype)
