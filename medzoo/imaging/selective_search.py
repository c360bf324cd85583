"""Selective search: category-independent region proposals (opencv-contrib).

Uijlings et al., IJCV 104:154 (2013): segments of a graph (Felzenszwalb and Huttenlocher 2004) are merged by how
alike they are, and every segment on the way is a proposal.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from medzoo.errors import missing_extra
from medzoo.types import Array

Mode = Literal["fast", "quality"]
_LEAST = 8  # pixels each way that the segments need


def selective_search(
    picture: Array, *, mode: Mode = "fast", smooth: tuple[float, ...] = (0.0,), scale: int = 150, step: int = 150
) -> Array:
    """(N, 4) float32 boxes x0, y0, x1, y1 of a picture (C, H, W), each once, in a fixed order; none of a constant one.

    `smooth`: the search runs once on the picture under a Gaussian of each of these deviations (pixels; 0: as it
    is): speckle tears regions apart that a little blur keeps together. `scale`, `step`: the first and the further
    thresholds k of the segments; `mode`: how many colour spaces and likenesses are tried. Values of any depth are
    stretched to 8 bits. Raises UserError where opencv-contrib is not installed.
    """
    segmentation = _opencv()
    grey = _to_bytes(picture)
    height, width = grey.shape[1:]
    if grey.min() == grey.max():
        return np.zeros((0, 4), np.float32)
    from scipy.ndimage import gaussian_filter

    found = [np.array([[0, 0, width, height]])]  # the root of every merging
    for sigma in smooth:
        seen = gaussian_filter(grey.astype(np.float32), (0, sigma, sigma)).round().astype(np.uint8) if sigma else grey
        # Its segments need a few pixels each way: a line is shown thicker, and its boxes are cut back.
        padded = np.pad(seen, ((0, 0), (0, max(0, _LEAST - height)), (0, max(0, _LEAST - width))), mode="edge")
        coloured = np.repeat(padded, 3, axis=0) if len(padded) == 1 else padded[:3][::-1]
        search = segmentation.createSelectiveSearchSegmentation()
        search.setBaseImage(np.ascontiguousarray(np.moveaxis(coloured, 0, 2)))
        if mode == "fast":
            search.switchToSelectiveSearchFast(scale, step)
        else:
            search.switchToSelectiveSearchQuality(scale, step)
        sides = search.process()
        found.append(np.concatenate([sides[:, :2], sides[:, :2] + sides[:, 2:]], axis=1))
    boxes = np.clip(np.concatenate(found), 0, [width, height, width, height])
    # OpenCV ranks its proposals by the C library's random numbers: which there are is certain, their order is not.
    boxes = np.unique(boxes, axis=0)
    return boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)].astype(np.float32)


def _to_bytes(picture: Array) -> Array:
    """Scale the middle 99 % of the values to uint8, since segments depend on contrast."""
    values = np.nan_to_num(np.asarray(picture, np.float32))
    low, high = np.percentile(values, (0.5, 99.5))
    if low == high:
        low, high = values.min(), values.max()
    # A constant picture that was brought to another size differs from itself by rounding.
    if high - low <= 1e-5 * max(abs(low), abs(high)):
        return np.zeros(values.shape, np.uint8)
    grey: Array = np.clip((values - low) / (high - low) * 255, 0, 255).round().astype(np.uint8)
    return grey


def _opencv() -> Any:
    try:
        from cv2.ximgproc import segmentation
    except ImportError:  # not installed, or one of OpenCV's packages without its contributed modules
        raise missing_extra("opencv-contrib-python-headless", "classic") from None
    return segmentation
