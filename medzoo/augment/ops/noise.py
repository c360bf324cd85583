"""`noise`: add Gaussian noise."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from medzoo.augment.augmentation import Augmentation, Share


class Noise(Augmentation):
    """Gaussian noise, of a random standard deviation and independent from pixel to pixel."""

    dims: ClassVar[tuple[int, ...]] = (2, 3)
    op: Literal["noise"] = "noise"
    sigma: float = Field(0.1, gt=0, description="largest standard deviation, in those of the image's own values")
    share: Share = Field(0.2, description="share of the images that are changed")

    def apply(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """See Augmentation.apply; exact zeros stay zeros."""
        covered = image != 0
        if not bool(covered.any()):
            return image
        sigma = rng.uniform(0, self.sigma) * float(image[covered].std(correction=0))
        noise = torch.from_numpy(rng.standard_normal(tuple(image.shape), dtype=np.float32))
        return image + sigma * noise * covered


ENTRY = Noise
