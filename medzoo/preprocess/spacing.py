"""`spacing`: a volume resampled to a voxel size in millimetres, outer edges kept."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from medzoo.errors import UserError
from medzoo.preprocess.step import HostStep
from medzoo.types import Array, Frame, Image

Millimetres = Annotated[float, Field(gt=0)]


class Spacing(HostStep):
    """Resample to `mm` along the stored axes; the extent is kept to the edge, so the spacing is reached to
    within the rounding of the size to whole voxels, and the affine tells the exact one.

    `order`: of the spline, 0 nearest, 1 linear, 3 cubic. An axis that shrinks is low-pass filtered first
    (Gaussian, sd = (factor - 1) / 2 voxels as in scikit-image's `rescale`), unless order is 0.
    """

    op: Literal["spacing"] = "spacing"
    mm: Millimetres | tuple[Millimetres, Millimetres, Millimetres]
    order: Literal[0, 1, 3] = 1

    def apply(self, image: Image, frame: Frame) -> tuple[Image, Frame]:
        """The resampled image, float32 unless order is 0. Raises UserError for a picture."""
        if image.affine is None:
            raise UserError("is a picture, it has no spacing in millimetres", image.source)
        wanted = (self.mm,) * 3 if isinstance(self.mm, float) else self.mm
        old = image.shape
        new = tuple(max(1, round(n * s / mm)) for n, s, mm in zip(old, image.spacing, wanted, strict=True))
        if new == old:
            return image, frame
        factors = np.array(old) / np.array(new)
        matrix = np.diag([*factors, 1.0])
        # Edge on edge: index -1/2 stays where it is, so centres shift by half the difference of the voxels.
        matrix[:3, 3] = (factors - 1) / 2
        array = np.stack([_resample(channel, matrix, new, self.order) for channel in image.array])
        return image.replace(array=array, affine=image.affine @ matrix), frame.then(matrix, shape=new)


def _resample(channel: Array, matrix: Array, shape: tuple[int, ...], order: int) -> Array:
    from scipy.ndimage import affine_transform, gaussian_filter

    if order:
        channel = channel.astype(np.float32)
        sd = np.maximum(0, (np.diag(matrix)[:3] - 1) / 2)
        channel = gaussian_filter(channel, sd, mode="nearest") if sd.any() else channel
    factors, offset = np.diag(matrix)[:3], matrix[:3, 3]
    result: Array = affine_transform(channel, factors, offset, output_shape=shape, order=order, mode="nearest")
    return result
