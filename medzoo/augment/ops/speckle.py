"""`speckle`: multiplicative noise with a grain, as in ultrasound."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate

from medzoo.augment.augmentation import Augmentation, Share


class Speckle(Augmentation):
    """Multiplicative noise with a grain of some pixels, as coherent imaging has it."""

    op: Literal["speckle"] = "speckle"
    sigma: float = Field(0.15, gt=0, description="largest relative deviation")
    grain: int = Field(1, ge=1, description="side of one grain, pixels")
    share: Share = Field(0.3, description="share of the pictures that are changed")

    def apply(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """See Augmentation.apply."""
        sigma = rng.uniform(0, self.sigma)
        height, width = (-(-n // self.grain) for n in image.shape[1:])
        noise = torch.from_numpy(rng.standard_normal((1, 1, height, width), dtype=np.float32))
        if self.grain > 1:
            noise = interpolate(noise, size=tuple(image.shape[1:]), mode="bilinear", align_corners=False)
        return (image * (1 + sigma * noise[0])).clamp(min=min(0.0, float(image.min())), max=float(image.max()))


ENTRY = Speckle
