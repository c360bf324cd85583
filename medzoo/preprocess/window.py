"""`window`: CT values cut to a window and brought to 0 to 1."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from medzoo.preprocess.step import HostStep
from medzoo.types import Frame, Image


class Window(HostStep):
    """Values from centre - width/2 to centre + width/2 (HU) to 0 to 1 in float32, all else cut off there."""

    op: Literal["window"] = "window"
    centre: float
    width: Annotated[float, Field(gt=0)]

    def apply(self, image: Image, frame: Frame) -> tuple[Image, Frame]:
        """The windowed image; nothing moves."""
        scaled = (image.array.astype(np.float32) - (self.centre - self.width / 2)) / self.width
        return image.replace(array=np.clip(scaled, 0, 1, dtype=np.float32)), frame
