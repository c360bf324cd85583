"""`limit-size`: pictures shrunk so that their longer side has at most some pixels."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from medzoo.preprocess.step import HostStep
from medzoo.types import Array, GridTransform, Image


class LimitSize(HostStep):
    """Shrink a picture (C, H, W) until its longer side has `side` pixels, its aspect kept; smaller ones stay.

    Averaged over what each new pixel covers, so that fine texture does not alias; a volume is left as it is. float32
    where it shrinks. Masks and boxes return to the picture's own pixels.
    """

    op: Literal["limit-size"] = "limit-size"
    side: Annotated[int, Field(ge=16, le=8192)] = 512

    def apply(self, image: Image, transform: GridTransform) -> tuple[Image, GridTransform]:
        """The picture, shrunk if it is larger."""
        longer = max(image.shape)
        if len(image.shape) != 2 or longer <= self.side:
            return image, transform
        size = tuple(max(1, round(n * self.side / longer)) for n in image.shape)
        array = np.stack([_shrunk(channel, size) for channel in image.array])
        # Pixel centres at whole numbers: the outer edges of both grids are the same.
        steps = [old / new for old, new in zip(image.shape, size, strict=True)]
        matrix = np.eye(3)
        for axis, step in enumerate(steps):
            matrix[axis, axis], matrix[axis, 2] = step, (step - 1) / 2
        return image.replace(array=array), transform.compose(matrix, shape=size)


def _shrunk(channel: Array, size: tuple[int, ...]) -> Array:
    from PIL import Image as Pillow

    picture = Pillow.fromarray(np.ascontiguousarray(channel, np.float32))
    return np.asarray(picture.resize((size[1], size[0]), Pillow.Resampling.BOX))


ENTRY = LimitSize
