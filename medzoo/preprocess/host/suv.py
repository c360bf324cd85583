"""`suv`: convert PET activity to standardised uptake values by body weight."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from medzoo.errors import UserError
from medzoo.preprocess.step import HostStep
from medzoo.types import GridTransform, Image


class Suv(HostStep):
    """Bq/ml times weight in grams over the injected dose, decay corrected to the time of the images (float32).

    Dose, half life, times, weight and correction are the DICOM header's; see medzoo.io.dicom.facts.
    """

    scales: ClassVar[bool] = True
    op: Literal["suv"] = "suv"

    def apply(self, image: Image, transform: GridTransform) -> tuple[Image, GridTransform]:
        """The image in SUVbw (g/ml); nothing moves. Raises UserError that says what the header lacks."""
        factor = image.meta.get("suvbw")
        if factor is None:
            lacks = image.meta.get("suvbw_lacks", "it is no PET in DICOM")
            raise UserError(f"has no standardised uptake value: {lacks}", image.source)
        return image.replace(array=image.array.astype(np.float32) * np.float32(factor)), transform


ENTRY = Suv
