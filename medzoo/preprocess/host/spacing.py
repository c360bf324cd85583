"""`spacing`: a volume resampled to a voxel size in millimetres, outer edges kept."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from medzoo.errors import UserError
from medzoo.io.check import volume_needed
from medzoo.io.limits import limits
from medzoo.preprocess.step import HostStep
from medzoo.types import Array, GridTransform, Image

Millimetres = Annotated[float, Field(ge=0.01, le=1000)]


class Spacing(HostStep):
    """Resample to `mm` along the stored axes; the extent is kept to the edge, so the spacing is reached to
    within the rounding of the size to whole voxels, and the affine tells the exact one.

    `order`: of the spline, 0 nearest, 1 linear, 3 cubic. An axis that shrinks is low-pass filtered first
    (Gaussian, sd = (factor - 1) / 2 voxels as in scikit-image's `rescale`), unless order is 0.

    `zeros`: "value" like any other; "outside" is what lies around an extracted brain: it stays exactly zero,
    the voxel is inside that is inside by half, and what is inside is not darkened by zeros beside it.
    """

    op: Literal["spacing"] = "spacing"
    mm: Millimetres | tuple[Millimetres, Millimetres, Millimetres]
    order: Literal[0, 1, 3] = 1
    zeros: Literal["value", "outside"] = "value"

    def apply(self, image: Image, transform: GridTransform) -> tuple[Image, GridTransform]:
        """The resampled image, float32 unless order is 0. Raises UserError for a picture."""
        if image.affine is None:
            raise volume_needed(image, "is a picture, it has no spacing in millimetres")
        wanted = (self.mm,) * 3 if isinstance(self.mm, float) else self.mm
        old = image.shape
        new = tuple(max(1, round(n * s / mm)) for n, s, mm in zip(old, image.spacing, wanted, strict=True))
        if new == old:
            return image, transform
        if math.prod(new) * len(image.array) > (most := limits().voxels):
            raise UserError(
                f"resampled to {wanted} mm it would have {' x '.join(map(str, new))} voxels, {most} at most",
                image.source,
                "is its spacing right?",
            )
        factors = np.array(old) / np.array(new)
        matrix = np.diag([*factors, 1.0])
        # Edge on edge: index -1/2 stays where it is, so centres shift by half the difference of the voxels.
        matrix[:3, 3] = (factors - 1) / 2
        resample = _resample if self.zeros == "value" else _resample_inside
        array = np.stack([resample(channel, matrix, new, self.order) for channel in image.array])
        return image.replace(array=array, affine=image.affine @ matrix), transform.compose(matrix, shape=new)


def _resample(channel: Array, matrix: Array, shape: tuple[int, ...], order: int) -> Array:
    from scipy.ndimage import affine_transform, gaussian_filter

    if order:
        channel = channel.astype(np.float32)
        sd = np.maximum(0, (np.diag(matrix)[:3] - 1) / 2)
        channel = gaussian_filter(channel, sd, mode="nearest") if sd.any() else channel
    factors, offset = np.diag(matrix)[:3], matrix[:3, 3]
    result: Array = affine_transform(channel, factors, offset, output_shape=shape, order=order, mode="nearest")
    return result


def _resample_inside(channel: Array, matrix: Array, shape: tuple[int, ...], order: int) -> Array:
    inside = channel != 0
    if order == 0 or inside.all() or not inside.any():
        return _resample(channel, matrix, shape, order)
    values = _resample(_continued(channel.astype(np.float32), inside), matrix, shape, order)
    kept = _resample(inside, matrix, shape, 1) >= 0.5
    result: Array = np.where(kept, np.where(values == 0, np.float32(1e-6), values), np.float32(0))
    return result


def _continued(channel: Array, inside: Array) -> Array:
    """`channel` with three voxels more around what is inside, each the mean of those beside it: as far as a
    spline sees."""
    from scipy.ndimage import uniform_filter

    filled, known = np.where(inside, channel, 0), inside
    for _ in range(3):
        weight = uniform_filter(known.astype(np.float32), 3)
        near = uniform_filter(filled, 3) / np.maximum(weight, 1e-3)
        ring = ~known & (weight > 1e-3)
        filled, known = np.where(ring, near, filled), known | ring
    return filled


ENTRY = Spacing
