"""`zscore`: standardise values to mean 0 and standard deviation 1."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from medzoo.errors import UserError
from medzoo.preprocess.step import HostStep
from medzoo.types import Array, GridTransform, Image


class ZScore(HostStep):
    """(x - mean) / sd in float32, over all values or over those that are not zero; per channel.

    By `quartiles` the median stands for the mean and 0.7413 of the distance between the quartiles for the sd, as for
    a normal distribution: fluid, lesions and what is left of a skull, of which people have more or less, move neither.

    With `nonzero` zeros stay exactly zero: they are the outside of a brain-extracted scan.
    """

    scales: ClassVar[bool] = True
    op: Literal["zscore"] = "zscore"
    where: Literal["nonzero", "all"] = "nonzero"
    by: Literal["moments", "quartiles"] = "moments"

    def apply(self, image: Image, transform: GridTransform) -> tuple[Image, GridTransform]:
        """The scaled image. Raises UserError where all the values that count are the same."""
        result = np.zeros(image.array.shape, np.float32)
        for channel, out in zip(image.array, result, strict=True):
            counted = channel != 0 if self.where == "nonzero" else np.ones(channel.shape, bool)
            values = channel[counted].astype(np.float64)
            middle, sd = self._levels(values)
            if sd <= 1e-9 * float(np.abs(values).max(initial=0.0)):
                raise UserError("is constant, so it has no z-score", image.source)
            out[counted] = (values - middle) / sd
        return image.replace(array=result), transform

    def _levels(self, values: Array) -> tuple[float, float]:
        """The value that becomes 0 and the distance that becomes 1."""
        if not values.size:
            return 0.0, 0.0
        if self.by == "moments":
            return float(values.mean()), float(values.std())
        low, middle, high = np.percentile(values, [25, 50, 75])
        return float(middle), 0.7413 * float(high - low)


ENTRY = ZScore
