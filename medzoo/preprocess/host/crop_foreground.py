"""`crop-foreground`: crop to the bounding box of all nonzero values."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from medzoo.boxes import bounding_box
from medzoo.errors import UserError
from medzoo.preprocess.step import HostStep
from medzoo.types import GridTransform, Image


class CropForeground(HostStep):
    """Cut away the outside where every channel is zero, leaving `margin` pixels (never beyond the image)."""

    op: Literal["crop-foreground"] = "crop-foreground"
    margin: Annotated[int, Field(ge=0, le=4096)] = 0

    def apply(self, image: Image, transform: GridTransform) -> tuple[Image, GridTransform]:
        """The cropped image and its transform. Raises UserError where all is zero."""
        block = bounding_box((image.array != 0).any(axis=0), margin=self.margin)
        if block is None:
            raise UserError("every pixel is zero, so there is no foreground", image.source)
        matrix = np.eye(len(block) + 1)
        matrix[:-1, -1] = [side.start for side in block]
        array = np.ascontiguousarray(image.array[(slice(None), *block)])
        affine = None if image.affine is None else image.affine @ matrix
        cropped = image.replace(array=array, affine=affine)
        return cropped, transform.compose(matrix, shape=cropped.shape)


ENTRY = CropForeground
