"""`low-resolution`: lose the detail that a coarser scan would not have."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate

from medzoo.augment.augmentation import Augmentation, Share


class LowResolution(Augmentation):
    """Resample to a coarser grid by the nearest value, and back to the image's own by (tri)linear interpolation.

    As in Isensee et al., Nature Methods 18:203, 2021 (simulation of low resolution); labels stay as they are.
    """

    dims: ClassVar[tuple[int, ...]] = (2, 3)
    op: Literal["low-resolution"] = "low-resolution"
    factor: float = Field(2.0, gt=1, le=8, description="largest factor by which voxels are coarser")
    axes: tuple[Literal[0, 1, 2], ...] | None = Field(None, description="axes that lose detail; none: all")
    share: Share = Field(0.25, description="share of the images that are changed")

    def apply(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """See Augmentation.apply; exact zeros stay zeros."""
        factor = rng.uniform(1, self.factor)
        shape = tuple(image.shape[1:])
        chosen = range(len(shape)) if self.axes is None else self.axes
        coarse = [max(1, round(n / factor)) if axis in chosen else n for axis, n in enumerate(shape)]
        small = interpolate(image[None], size=coarse, mode="nearest-exact")
        mode = "trilinear" if len(shape) == 3 else "bilinear"
        back: Tensor = interpolate(small, size=shape, mode=mode, align_corners=False)[0]
        return back * (image != 0)


ENTRY = LowResolution
