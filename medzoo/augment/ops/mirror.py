"""`mirror`: reverse axes of an image and its label map."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from medzoo.augment.augmentation import Augmentation
from medzoo.errors import UserError


class Mirror(Augmentation):
    """Each of the chosen axes is reversed or not with equal chances.

    Only for axes along which both directions mean the same: after `orient: RAS` axis 0 of a volume is left to right,
    and labels that tell the sides apart forbid it.
    """

    dims: ClassVar[tuple[int, ...]] = (2, 3)
    op: Literal["mirror"] = "mirror"
    axes: Annotated[tuple[Literal[0, 1, 2], ...], Field(min_length=1)] = Field(
        (0,), description="axes of the prepared image, channels not counted"
    )

    def apply(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """See Augmentation.apply."""
        return image.flip([1 + axis for axis in self._drawn(rng)])

    def apply_with_labels(self, image: Tensor, labels: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """See Augmentation.apply_with_labels."""
        drawn = self._drawn(rng)
        return image.flip([1 + axis for axis in drawn]), labels.flip(drawn)

    def check_boxes(self, where: str) -> None:
        """See Augmentation.check_boxes."""
        raise UserError("mirror does not move boxes", where, "use flip")

    def check_label_maps(self, where: str, *, dims: int) -> None:
        """See Augmentation.check_label_maps."""
        if max(self.axes) >= dims:
            raise UserError(f"an image of {dims} axes has no axis {max(self.axes)}", f"{where}.axes", "counted from 0")

    def _drawn(self, rng: np.random.Generator) -> list[int]:
        reversed_ = rng.random(3) < 0.5
        return [axis for axis in dict.fromkeys(self.axes) if reversed_[axis]]


ENTRY = Mirror
