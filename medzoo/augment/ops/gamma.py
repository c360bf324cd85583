"""`gamma`: raise values to a random power."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from medzoo.augment.augmentation import Augmentation


class Gamma(Augmentation):
    """Values raised to a power between 1 / (1 + strength) and 1 + strength, on the picture's own range."""

    dims: ClassVar[tuple[int, ...]] = (2, 3)
    op: Literal["gamma"] = "gamma"
    strength: float = Field(0.3, gt=0, description="largest change of the exponent")

    def apply(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """See Augmentation.apply."""
        power = (1 + self.strength) ** rng.uniform(-1, 1)
        low, high = image.min(), image.max()
        span = (high - low).clamp(min=1e-6)
        changed: Tensor = low + span * ((image - low) / span) ** power
        # Of values below zero, such as z-scores, zero would become another value.
        return changed * (image != 0) if float(low) < 0 else changed


ENTRY = Gamma
