"""`intensity`: change contrast and brightness."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from medzoo.augment.augmentation import Augmentation


class Intensity(Augmentation):
    """Contrast about the mean, and brightness, of what the picture covers."""

    dims: ClassVar[tuple[int, ...]] = (2, 3)
    op: Literal["intensity"] = "intensity"
    contrast: float = Field(0.2, ge=0, lt=1, description="largest change of contrast, as a share")
    brightness: float = Field(0.2, ge=0, description="largest shift, in standard deviations of the picture")

    def apply(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """See Augmentation.apply."""
        factor, shift = rng.uniform(-1, 1, 2)
        covered = image != 0
        count = int(covered.sum())
        if not count:
            return image
        # Picking the covered pixels out would take longer than everything else here.
        mean = image.sum(dtype=torch.float64).float() / count
        changed = (image - mean).mul_(covered)
        spread = (changed.square().sum(dtype=torch.float64) / count).sqrt().float()
        low, high = (float(value) for value in image.aminmax())
        if high <= 0:
            high = float(image[covered].max())
        changed.mul_(1 + self.contrast * factor).add_(mean).add_(self.brightness * shift * spread)
        # Stored values end at their own range: clipped, as the device would have.
        return changed.clamp_(min=min(0.0, low), max=high).mul_(covered)


ENTRY = Intensity
