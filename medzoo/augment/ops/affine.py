"""`affine`: rotate, shift, scale and stretch."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import grid_sample

from medzoo.augment.augmentation import Augmentation, Donors, Labelled, Share
from medzoo.errors import UserError
from medzoo.types import Array


class Affine(Augmentation):
    """Rotate, shift, scale and stretch at once, bilinear; what comes from outside is zero."""

    op: Literal["affine"] = "affine"
    rotate: float = Field(10.0, ge=0, le=180, description="largest angle, degrees")
    translate: Share = Field(0.05, description="largest shift, as a share of the side")
    scale: float = Field(0.1, ge=0, lt=1, description="largest change of size, as a share")
    stretch: float = Field(0.0, ge=0, lt=1, description="largest change of the aspect, as a share")

    def apply(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """See Augmentation.apply."""
        return self.warp(image, self.sample(image, rng))

    def apply_labelled(self, sample: Labelled, rng: np.random.Generator, *, donors: Donors) -> Labelled:
        """See Augmentation.apply_labelled."""
        theta = self.sample(sample.image, rng)
        height, width = sample.image.shape[1:]
        sides = np.array([width, height, width, height], float)
        # Without a turn the matrix is diagonal: each side is scaled and shifted by itself.
        scale, shift = np.tile(np.diag(theta[:, :2]), 2), np.tile(theta[:, 2], 2)
        boxes = ((2 * sample.boxes / sides - 1 - shift) / scale + 1) / 2 * sides
        return Labelled(self.warp(sample.image, theta), boxes, sample.labels)

    def check_boxes(self, where: str) -> None:
        """See Augmentation.check_boxes."""
        if self.rotate:
            raise UserError(
                "boxes cannot be rotated: the box around a rotated box is looser than the object",
                where=f"{where}.rotate",
                hint="set rotate: 0",
            )

    def sample(self, image: Tensor, rng: np.random.Generator) -> Array:
        """(2, 3) float64: places x, y in the changed picture, from -1 to 1 edge to edge, to those before."""
        angle, dx, dy, size, aspect = rng.uniform(-1, 1, 5)
        angle = math.radians(self.rotate * angle)
        zoom, squeeze = 1 + self.scale * size, math.sqrt(1 + self.stretch * aspect)
        height, width = image.shape[1:]
        # In pixels the turn must be a turn, so the grid's unit square is stretched to the picture's sides.
        turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        linear = turn / zoom @ np.diag([squeeze, 1 / squeeze])
        sides = np.array([width, height], float)
        return np.concatenate(
            [linear * sides[None, :] / sides[:, None], 2 * self.translate * np.array([[dx], [dy]])], axis=1
        )

    @staticmethod
    def warp(image: Tensor, theta: Array) -> Tensor:
        """The image resampled by what `sample` gave."""
        height, width = image.shape[1:]
        # torch's affine_grid multiplies matrices of three rows, which takes twice as long.
        x, y = _middles(width), _middles(height)
        (xx, xy, x0), (yx, yy, y0) = theta.tolist()
        grid = torch.empty(1, height, width, 2)
        torch.add(xx * x, (xy * y + x0)[:, None], out=grid[0, :, :, 0])
        torch.add(yx * x, (yy * y + y0)[:, None], out=grid[0, :, :, 1])
        return grid_sample(image[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]


@lru_cache(maxsize=16)
def _middles(count: int) -> Tensor:
    """(count,) float32: the middles of that many pixels, from -1 to 1 edge to edge."""
    return (torch.arange(count).float() * 2 + 1) / count - 1


ENTRY = Affine
