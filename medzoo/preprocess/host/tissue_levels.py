"""`tissue-levels`: a T1-weighted brain without its bias field, grey matter at 0 and white matter at 1."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from medzoo.errors import UserError
from medzoo.imaging.measures import holes
from medzoo.imaging.tissue_levels import tissue_levels
from medzoo.preprocess.step import HostStep
from medzoo.types import GridTransform, Image


class TissueLevels(HostStep):
    """(x / field - grey) / (white - grey) in float32, per channel; see medzoo.imaging.tissue_levels.

    For brain-extracted scans in which fluid is darker than grey matter and grey darker than white. Zeros around
    the brain stay exactly zero and nothing else is: zeros that it surrounds are fluid too dark for the scan's
    numbers, and are scaled as such.
    """

    scales: ClassVar[bool] = True
    op: Literal["tissue-levels"] = "tissue-levels"

    def apply(self, image: Image, transform: GridTransform) -> tuple[Image, GridTransform]:
        """The scaled image. Raises UserError where all the values that count are the same."""
        result = np.zeros(image.array.shape, np.float32)
        for channel, out in zip(image.array, result, strict=True):
            # A scan may have been stored with an offset; then its darkest value is not far above the outside.
            inside = channel != 0
            inside |= holes(inside)
            low = min(0.0, float(channel.min()))
            try:
                levels = tissue_levels(np.where(inside, channel - low, 0), image.spacing)
            except ValueError as error:
                raise UserError(f"has no tissue levels: {error}", image.source) from error
            values = (channel[inside] - low) / levels.field[inside]
            values = (values - levels.grey) / (levels.white - levels.grey)
            out[inside] = np.where(values == 0, np.float32(1e-6), values)
        return image.replace(array=result), transform


ENTRY = TissueLevels
