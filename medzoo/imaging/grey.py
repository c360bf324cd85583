"""First-order grey statistics and luma."""

from __future__ import annotations

import numpy as np

from medzoo.errors import UserError
from medzoo.io.channels import luma as colour_luma
from medzoo.types import Array

FIRST_ORDER = ("mean", "variance", "skewness", "kurtosis", "uniformity", "entropy")


def luma(image: Array) -> Array:
    """A picture as grey (H, W): ITU-R 601 luma of (3|4, H, W) or (H, W, 3|4), the plane of (1, H, W).

    A fourth channel (alpha) is left out. The dtype is kept: whole numbers are rounded, so that a grey
    picture stored as colour is the same picture.
    Raises UserError for other shapes.
    """
    image = np.asarray(image)
    if image.ndim == 2:
        return image
    if image.ndim == 3 and image.shape[0] == 1:
        return np.asarray(image[0])
    if image.ndim == 3 and image.shape[0] not in (3, 4) and image.shape[-1] in (3, 4):
        image = np.moveaxis(image, -1, 0)
    if image.ndim != 3 or image.shape[0] not in (3, 4):
        raise UserError(f"an image of shape {image.shape} is neither grey nor colour")
    return np.asarray(colour_luma(image[:3])[0])


def first_order(image: Array, mask: Array | None = None, *, bins: int | None = None) -> dict[str, float]:
    """mean, variance (ddof 0), skewness, kurtosis (not excess), uniformity, entropy (bits) inside `mask`.

    Uniformity and entropy are those of the distinct values, or of `bins` equal bins between the extremes.
    Raises UserError for an empty mask and a constant image, whose skewness is not defined.
    """
    values = np.asarray(image, np.float64)
    values = values.ravel() if mask is None else values[np.asarray(mask, bool)]
    if not values.size:
        raise UserError("the mask is empty")
    if not np.isfinite(values).all():
        raise UserError("the image holds values that are not finite")
    if values.min() == values.max():
        raise UserError("the image is constant, so it has no grey-level statistics")
    mean = values.mean()
    away = values - mean
    variance = (away**2).mean()
    counts = np.unique(values, return_counts=True)[1] if bins is None else np.histogram(values, bins)[0]
    p = counts[counts > 0] / values.size
    return {
        "mean": float(mean),
        "variance": float(variance),
        "skewness": float((away**3).mean() / variance**1.5),
        "kurtosis": float((away**4).mean() / variance**2),
        "uniformity": float((p**2).sum()),
        "entropy": float(-(p * np.log2(p)).sum()),
    }
