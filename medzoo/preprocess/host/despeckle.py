"""`despeckle`: edge-preserving smoothing of ultrasound speckle."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, field_validator

from medzoo.preprocess.step import HostStep, slicewise
from medzoo.types import Array, GridTransform, Image


class Despeckle(HostStep):
    """Lee's filter for multiplicative noise (IEEE PAMI 2:165, 1980), in float32, slice by slice.

    mean + k (x - mean) with k = 1 - (noise / c)^2, c the coefficient of variation in a window of side `size`, and k 0
    where c is below the speckle's own coefficient `noise`: even tissue becomes its mean, edges stay. Borders are
    mirrored.
    """

    op: Literal["despeckle"] = "despeckle"
    size: Annotated[int, Field(ge=3, le=255)] = 5
    noise: Annotated[float, Field(gt=0)] = 0.25

    @field_validator("size")
    @classmethod
    def _odd(cls, size: int) -> int:
        if size % 2 == 0:
            raise ValueError("must be odd")
        return size

    def apply(self, image: Image, transform: GridTransform) -> tuple[Image, GridTransform]:
        """The smoothed image; nothing moves."""
        return image.replace(array=slicewise(image, self._filtered)), transform

    def _filtered(self, picture: Array) -> Array:
        from scipy.ndimage import uniform_filter

        x = picture.astype(np.float64)
        mean = uniform_filter(x, self.size, mode="reflect")
        variance = np.maximum(uniform_filter(x * x, self.size, mode="reflect") - mean * mean, 0)
        gain = 1 - (self.noise * mean) ** 2 / np.maximum(variance, 1e-12)
        smooth: Array = (mean + np.clip(gain, 0, 1) * (x - mean)).astype(np.float32)
        return smooth


ENTRY = Despeckle
