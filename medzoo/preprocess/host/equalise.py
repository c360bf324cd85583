"""`equalise`: histogram equalisation."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from medzoo.errors import UserError
from medzoo.imaging.histogram import Method, equalise
from medzoo.preprocess.step import HostStep
from medzoo.types import GridTransform, Image


class Equalise(HostStep):
    """Histogram equalisation (medzoo.imaging.equalise) of each channel, over a whole volume at once.

    8- and 16-bit images keep their dtype; anything else, such as CT, needs a `window` [low, high].
    """

    scales: ClassVar[bool] = True
    op: Literal["equalise"] = "equalise"
    method: Method = "textbook"
    bins: Annotated[int, Field(ge=2, le=65536)] | None = None
    window: tuple[float, float] | None = None

    def apply(self, image: Image, transform: GridTransform) -> tuple[Image, GridTransform]:
        """The flattened image; nothing moves. Raises UserError where every value is the same."""
        try:
            array = np.stack([
                equalise(channel, method=self.method, bins=self.bins, window=self.window) for channel in image.array
            ])  # fmt: skip
        except UserError as error:
            raise error.located(image.source) from None
        return image.replace(array=array), transform


ENTRY = Equalise
