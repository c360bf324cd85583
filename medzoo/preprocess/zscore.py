"""`zscore`: values to mean 0 and standard deviation 1."""

from __future__ import annotations

from typing import Literal

import numpy as np

from medzoo.errors import UserError
from medzoo.preprocess.step import HostStep
from medzoo.types import Frame, Image


class ZScore(HostStep):
    """(x - mean) / sd in float32, over all values or over those that are not zero; per channel.

    With `nonzero` zeros stay exactly zero: they are the outside of a brain-extracted scan.
    """

    op: Literal["zscore"] = "zscore"
    where: Literal["nonzero", "all"] = "nonzero"

    def apply(self, image: Image, frame: Frame) -> tuple[Image, Frame]:
        """The scaled image. Raises UserError where all the values that count are the same."""
        result = np.zeros(image.array.shape, np.float32)
        for channel, out in zip(image.array, result, strict=True):
            counted = channel != 0 if self.where == "nonzero" else np.ones(channel.shape, bool)
            values = channel[counted].astype(np.float64)
            sd = float(values.std()) if values.size else 0.0
            if sd <= 1e-9 * float(np.abs(values).max(initial=0.0)):
                raise UserError("is constant, it has no z-score", image.source)
            out[counted] = (values - values.mean()) / sd
        return image.replace(array=result), frame
