"""`cutout`: set a random rectangle to zero."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from medzoo.augment.augmentation import Augmentation, Share


class Cutout(Augmentation):
    """A rectangle of zeros (DeVries and Taylor, arXiv 1708.04552)."""

    op: Literal["cutout"] = "cutout"
    side: Share = Field(0.25, description="largest side, as a share of the picture's")
    share: Share = Field(0.3, description="share of the pictures that are changed")

    def apply(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """See Augmentation.apply."""
        image = image.clone()
        window = []
        for length in image.shape[1:]:
            size = int(rng.uniform(0.3, 1.0) * self.side * length)
            start = int(rng.integers(0, length - size + 1))
            window.append(slice(start, start + size))
        image[:, window[0], window[1]] = 0
        return image


ENTRY = Cutout
