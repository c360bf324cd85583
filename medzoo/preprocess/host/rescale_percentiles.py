"""`rescale-percentiles`: scale values between two percentiles to 0 to 1."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from medzoo.errors import UserError
from medzoo.preprocess.step import HostStep
from medzoo.types import GridTransform, Image

Percent = Annotated[float, Field(ge=0, le=100)]


class RescalePercentiles(HostStep):
    """The `low`th percentile to 0, the `high`th to 1, float32, cut off beyond; over all or nonzero values.

    With `nonzero` zeros stay exactly zero.
    """

    scales: ClassVar[bool] = True
    op: Literal["rescale-percentiles"] = "rescale-percentiles"
    low: Percent = 1.0
    high: Percent = 99.0
    where: Literal["nonzero", "all"] = "nonzero"

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError("low must be below high")
        return self

    def apply(self, image: Image, transform: GridTransform) -> tuple[Image, GridTransform]:
        """The rescaled image. Raises UserError where both percentiles are the same value."""
        result = np.zeros(image.array.shape, np.float32)
        for channel, out in zip(image.array, result, strict=True):
            counted = channel != 0 if self.where == "nonzero" else np.ones(channel.shape, bool)
            values = channel[counted].astype(np.float64)
            low, high = np.percentile(values, [self.low, self.high]) if values.size else (0.0, 0.0)
            if not high > low:
                raise UserError(f"its percentiles {self.low:g} and {self.high:g} are the same value", image.source)
            out[counted] = np.clip((values - low) / (high - low), 0, 1)
        return image.replace(array=result), transform


ENTRY = RescalePercentiles
