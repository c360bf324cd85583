"""`blur`: smooth with a Gaussian of random width."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import conv2d, conv3d, pad

from medzoo.augment.augmentation import Augmentation, Share


class Blur(Augmentation):
    """A Gaussian blur."""

    dims: ClassVar[tuple[int, ...]] = (2, 3)
    op: Literal["blur"] = "blur"
    sigma: float = Field(1.5, gt=0, description="largest standard deviation, pixels")
    share: Share = Field(0.2, description="share of the pictures that are changed")

    def apply(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """See Augmentation.apply."""
        sigma = rng.uniform(0.1, 1.0) * self.sigma
        reach = max(1, round(3 * sigma))
        line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1).float() / sigma) ** 2)
        line = line / line.sum()
        if image.ndim == 4:
            return _blurred_volume(image, line, reach)
        line = line.view(1, 1, -1, 1)
        padded = pad(image[:, None], (reach,) * 4, mode="replicate")
        return conv2d(conv2d(padded, line), line.transpose(2, 3))[:, 0]


def _blurred_volume(image: Tensor, line: Tensor, reach: int) -> Tensor:
    """A volume (C, I, J, K) smoothed by `line` along each axis, its outermost values repeated outside."""
    smooth = pad(image[:, None], (reach,) * 6, mode="replicate")
    for axis in range(3):
        smooth = conv3d(smooth, line.view(1, 1, *(len(line) if other == axis else 1 for other in range(3))))
    return smooth[:, 0]


ENTRY = Blur
