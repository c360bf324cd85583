"""`flip`: mirror left and right, or up and down."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from medzoo.augment.augmentation import Augmentation, Donors, Labelled, Share


class Flip(Augmentation):
    """Mirror about the vertical (x) or horizontal (y) middle; only where the two sides mean the same."""

    op: Literal["flip"] = "flip"
    axis: Literal["x", "y"] = Field("x", description="x: left and right change places, y: up and down")
    share: Share = Field(0.5, description="share of the pictures that are mirrored")

    def apply(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """See Augmentation.apply."""
        return image.flip(2 if self.axis == "x" else 1)

    def apply_with_labels(self, image: Tensor, labels: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """See Augmentation.apply_with_labels."""
        return self.apply(image, rng), labels.flip(1 if self.axis == "x" else 0)

    def apply_labelled(self, sample: Labelled, rng: np.random.Generator, *, donors: Donors) -> Labelled:
        """See Augmentation.apply_labelled."""
        height, width = sample.image.shape[1:]
        low, high, side = (0, 2, width) if self.axis == "x" else (1, 3, height)
        boxes = sample.boxes.copy()
        boxes[:, [low, high]] = side - boxes[:, [high, low]]
        masks = None if sample.masks is None else np.flip(sample.masks, 2 if self.axis == "x" else 1)
        return Labelled(self.apply(sample.image, rng), boxes, sample.labels, masks)


ENTRY = Flip
