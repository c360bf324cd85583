"""`window`: clip CT values to a window and scale them to 0 to 1."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from medzoo.errors import UserError
from medzoo.preprocess.step import HostStep
from medzoo.types import GridTransform, Image


class Window(HostStep):
    """Values from centre - width/2 to centre + width/2 (HU) to 0 to 1 in float32, all else cut off there.

    Without centre and width it is the first window that the image's DICOM header names.
    """

    scales: ClassVar[bool] = True
    op: Literal["window"] = "window"
    centre: float | None = None
    width: Annotated[float | None, Field(gt=0)] = None

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.centre is None) != (self.width is None):
            raise ValueError("centre and width belong together; leave both out to take the header's window")
        return self

    def apply(self, image: Image, transform: GridTransform) -> tuple[Image, GridTransform]:
        """The windowed image; nothing moves. Raises UserError where no window is given and the header has none."""
        centre, width = self.centre, self.width
        if centre is None or width is None:
            if "window" not in image.meta:
                raise UserError("its header names no window", image.source, "give the step a centre and a width")
            centre, width = image.meta["window"]
        scaled = (image.array.astype(np.float32) - np.float32(centre - width / 2)) / np.float32(width)
        return image.replace(array=np.clip(scaled, 0, 1, dtype=np.float32)), transform


ENTRY = Window
