"""`knn-smooth`: KNN smoothing of every channel and slice."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from medzoo.imaging.smoothing import Border, Ties, knn_smooth
from medzoo.preprocess.step import HostStep, slicewise
from medzoo.types import GridTransform, Image


class KnnSmooth(HostStep):
    """The mean of the `neighbours` pixels of a size x size window whose value is nearest the centre's
    (medzoo.imaging.knn_smooth), in float32; a volume is taken slice by slice of its last axis."""

    op: Literal["knn-smooth"] = "knn-smooth"
    size: Annotated[int, Field(ge=1, le=63)] = 5
    neighbours: Annotated[int, Field(ge=1, le=3969)] = 9
    ties: Ties = "average"
    border: Border = "reflect"

    def apply(self, image: Image, transform: GridTransform) -> tuple[Image, GridTransform]:
        """The smoothed image; nothing moves. Raises UserError for a window that cannot be had."""
        options = {"size": self.size, "neighbours": self.neighbours, "ties": self.ties, "border": self.border}
        array = slicewise(image, lambda plane: knn_smooth(plane, **options).astype(np.float32))  # type: ignore[arg-type]
        return image.replace(array=array), transform


ENTRY = KnnSmooth
