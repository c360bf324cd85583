"""Apply a 2D filter to every channel of a picture and every slice of a volume."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from medzoo.errors import UserError
from medzoo.types import Array, Image


def slicewise(image: Image, function: Callable[[Array], Array]) -> Array:
    """Apply `function` to each (H, W) plane of an image (C, H, W), or (C, I, J, K) cut along its last axis.

    Raises UserError, with the image's name where the function gave none.
    """
    planes = image.array if image.affine is None else np.moveaxis(image.array, -1, 1).reshape(-1, *image.shape[:2])
    try:
        done = np.stack([function(plane) for plane in planes])
    except UserError as error:
        raise error.located(image.source) from None
    if image.affine is None:
        return done
    back: Array = np.moveaxis(done.reshape(len(image.array), -1, *image.shape[:2]), 1, -1)
    return np.ascontiguousarray(back)
