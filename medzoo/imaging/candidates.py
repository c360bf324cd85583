"""Several outlines for one mass, where no single one can be trusted. Knows proposal and boundary of this room."""

from __future__ import annotations

import numpy as np

from medzoo.errors import UserError
from medzoo.imaging.boundary import Boundary
from medzoo.imaging.contour import single_component, trace
from medzoo.imaging.proposal import blobs
from medzoo.types import Array

SIDE = 160  # pixels along the longer side of the grid on which blobs are sought
SAME = 0.7  # overlap (intersection over union) from which on two blobs are one


def candidate_boundaries(grey: Array, *, count: int, dark: bool = True) -> list[tuple[Boundary, float]]:
    """At most `count` different blobs of an image (H, W) and how mass-like each is, best first; none where there
    is none.

    dark: whether masses are darker than what surrounds them. Raises UserError for a constant image.
    """
    from skimage.transform import resize

    values = np.asarray(grey, np.float64)
    low, high = float(values.min()), float(values.max())
    if not low < high:
        raise UserError("the image is constant, so there is no boundary to find")
    values = (values - low) / (high - low)
    scale = min(1.0, SIDE / max(values.shape))
    shape = tuple(max(1, round(n * scale)) for n in values.shape)
    small = resize(values if dark else 1 - values, shape, order=1, anti_aliasing=scale < 1)
    kept: list[Array] = []
    found: list[tuple[Boundary, float]] = []
    for blob in sorted(blobs(small), key=lambda blob: -blob.score):
        if blob.score <= 0 or len(found) == count:
            break
        if any((blob.mask & other).sum() >= SAME * (blob.mask | other).sum() for other in kept):
            continue
        kept.append(blob.mask)
        mask, notes = single_component(resize(blob.mask.astype(np.float64), values.shape, order=1) > 0.5)
        found.append((Boundary(mask, trace(mask), notes, "found"), blob.score))
    return found
