"""`log-subtract`: digital subtraction angiography, the mask taken from the filled frames in the log domain."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from medzoo.errors import UserError
from medzoo.preprocess.step import HostStep
from medzoo.types import GridTransform, Image


class LogSubtract(HostStep):
    """ln(mask) - ln(frame) in float32: by Lambert and Beer the contrast agent's own absorption, whatever lies before
    and behind it. Channel number `mask` is the frame without agent; the other channels remain.

    Counts below `floor` are taken as that many.
    """

    scales: ClassVar[bool] = True
    op: Literal["log-subtract"] = "log-subtract"
    mask: Annotated[int, Field(ge=0, le=65535)] = 0
    floor: Annotated[float, Field(gt=0)] = 1.0

    def apply(self, image: Image, transform: GridTransform) -> tuple[Image, GridTransform]:
        """The subtracted image, one channel less; nothing moves. Raises UserError without a mask and a frame."""
        channels = len(image.array)
        if channels < 2 or self.mask >= channels:
            raise UserError(f"has {channels} channels, but a subtraction needs a mask and frames", image.source)
        logs = np.log(np.maximum(image.array.astype(np.float32), np.float32(self.floor)))
        return image.replace(array=logs[self.mask] - np.delete(logs, self.mask, axis=0)), transform


ENTRY = LogSubtract
