"""COCO's `segmentation` of an annotation as a mask: polygons, or run lengths as numbers or compressed text."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from medzoo.errors import UserError
from medzoo.io.run_lengths import decompressed, from_run_lengths
from medzoo.types import Array


def segmentation_mask(segmentation: Any, shape: tuple[int, int], *, where: str) -> Array:
    """The mask (H, W) bool: pixels whose centre lies in one of the polygons, or those of the run lengths.

    Raises UserError that names `where` for an annotation without one, of another size, or that covers no pixel.
    """
    if not segmentation:
        raise UserError("has no segmentation, but the model learns masks", where, "leave model.mask out")
    if isinstance(segmentation, dict):
        mask = _from_runs(segmentation, shape, where)
    elif isinstance(segmentation, list) and all(map(_is_polygon, segmentation)):
        mask = np.zeros(shape, bool)
        for polygon in segmentation:
            mask |= _filled_polygons(polygon, shape)
    else:
        hint = "a list of polygons [x, y, x, y, ...], or {size, counts}"
        raise UserError(f"its segmentation is {str(segmentation)[:60]}", where, hint)
    if not mask.any():
        raise UserError("its segmentation covers no pixel of the image", where)
    return mask


def _from_runs(runs: dict[str, Any], shape: tuple[int, int], where: str) -> Array:
    size, counts = runs.get("size"), runs.get("counts")
    if size != list(shape):
        raise UserError(f"its segmentation is of size {size}, the image of {list(shape)} (height, width)", where)
    if isinstance(counts, str):
        counts = decompressed(counts, where=where)
    if not isinstance(counts, list):
        raise UserError(f"the counts of its segmentation are {str(counts)[:60]}", where)
    return from_run_lengths(counts, shape, where=where)


def _is_polygon(value: Any) -> bool:
    numbers = isinstance(value, list) and all(
        isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in value
    )
    return numbers and len(value) >= 6 and len(value) % 2 == 0


def _filled_polygons(polygon: list[float], shape: tuple[int, int]) -> Array:
    from skimage.draw import polygon2mask

    points = np.array(polygon, float).reshape(-1, 2)[:, ::-1]
    # Coordinates count from the edge of the first pixel, those of polygon2mask from its centre.
    mask: Array = polygon2mask(shape, points - 0.5)
    return mask
