"""`affine`: rotate, shift, scale and stretch."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from medzoo.augment.augmentation import OUTSIDE, VISIBLE, Augmentation, Donors, Labelled, Share
from medzoo.data.instances import areas_of, boxes_of
from medzoo.errors import UserError
from medzoo.types import Array

Side = Annotated[float, Field(gt=0)]


class Affine(Augmentation):
    """Rotate, shift, scale and stretch at once, (tri)linear; what comes from outside is zero.

    A volume is rotated about each of its axes by an angle of its own. Label maps take the nearest label.
    """

    dims: ClassVar[tuple[int, ...]] = (2, 3)
    op: Literal["affine"] = "affine"
    rotate: float = Field(10.0, ge=0, le=180, description="largest angle, degrees")
    translate: Share = Field(0.05, description="largest shift, as a share of the side")
    scale: float = Field(0.1, ge=0, lt=1, description="largest change of size, as a share")
    stretch: float = Field(0.0, ge=0, lt=1, description="largest change of the aspect, as a share")
    spacing: tuple[Side, Side, Side] | None = Field(
        None, description="relative sides of a volume's voxels, so that a rotation is one in space; none: cubes"
    )
    across: Literal[0, 1, 2] | None = Field(
        None, description="axis of a volume along which nothing changes, such as that of thick slices; none: all change"
    )

    def apply(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """See Augmentation.apply."""
        if image.ndim == 4:
            return _warp(image, self._grid(image, rng), mode="bilinear")
        return self.warp(image, self.sample(image, rng))

    def apply_with_labels(self, image: Tensor, labels: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """See Augmentation.apply_with_labels; image and labels are each interpolated once."""
        grid = self._grid(image, rng)
        # grid_sample puts 0 where nothing is, so OUTSIDE must be 0 while labels are sampled.
        shifted = _warp(labels[None].float() - OUTSIDE, grid, mode="nearest")[0]
        return _warp(image, grid, mode="bilinear"), (shifted + OUTSIDE).to(labels.dtype)

    def apply_labelled(self, sample: Labelled, rng: np.random.Generator, *, donors: Donors) -> Labelled:
        """See Augmentation.apply_labelled."""
        theta = self.sample(sample.image, rng)
        if sample.masks is not None:
            return self._with_masks(sample, sample.masks, theta)
        height, width = sample.image.shape[1:]
        sides = np.array([width, height, width, height], float)
        # Without a turn the matrix is diagonal: each side is scaled and shifted by itself.
        scale, shift = np.tile(np.diag(theta[:, :2]), 2), np.tile(theta[:, 2], 2)
        boxes = ((2 * sample.boxes / sides - 1 - shift) / scale + 1) / 2 * sides
        return Labelled(self.warp(sample.image, theta), boxes, sample.labels)

    def _with_masks(self, sample: Labelled, masks: Array, theta: Array) -> Labelled:
        """The image and its masks resampled, and the boxes of the masks; an object of whose mask too little is left
        has an empty box."""
        count = len(sample.boxes)
        moved = self.warp_labels(masks, theta)
        boxes = boxes_of(moved, count)
        scale = 1 / abs(float(np.linalg.det(theta[:, :2])))
        lost = areas_of(moved, count) < VISIBLE * scale * areas_of(masks, count)
        return Labelled(self.warp(sample.image, theta), np.where(lost[:, None], 0, boxes), sample.labels, moved)

    def check_boxes(self, where: str) -> None:
        """See Augmentation.check_boxes."""
        if self.rotate:
            raise UserError(
                "boxes cannot be rotated: the box around a rotated box is looser than the object",
                where=f"{where}.rotate",
                hint="set rotate: 0, or learn masks (model.mask)",
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

    def _grid(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """(1, *spatial, 2 or 3) where each place of the changed image (C, *spatial) was before."""
        theta = self.sample(image, rng) if image.ndim == 3 else self._sample_volume(image, rng)
        return affine_grid(torch.from_numpy(theta).float()[None], [1, 1, *image.shape[1:]], align_corners=False)

    def _sample_volume(self, image: Tensor, rng: np.random.Generator) -> Array:
        """(3, 4) float64: as `sample`, of places x, y, z along the last, middle and first spatial axis."""
        angles = np.radians(self.rotate * rng.uniform(-1, 1, 3))
        shift = 2 * self.translate * rng.uniform(-1, 1, 3)
        zoom = 1 + self.scale * rng.uniform(-1, 1)
        squeeze = np.sqrt(1 + self.stretch * rng.uniform(-1, 1, 3))
        sizes = squeeze / np.cbrt(squeeze.prod()) / zoom
        if self.across is not None:
            # Places are x, y, z, axes are counted from the other end.
            still = 2 - self.across
            angles[np.arange(3) != still], shift[still], sizes[still] = 0.0, 0.0, 1.0
        linear = np.diag(sizes)
        for axis, angle in enumerate(angles):
            first, second = [other for other in range(3) if other != axis]
            turn = np.eye(3)
            turn[[first, second], [first, second]] = math.cos(angle)
            turn[first, second], turn[second, first] = math.sin(angle), -math.sin(angle)
            linear = turn @ linear
        # In millimetres the turn must be a turn, so the grid's unit cube is stretched to the volume's sides.
        sides = np.array(image.shape[:0:-1], float) * np.array((self.spacing or (1.0, 1.0, 1.0))[::-1])
        return np.concatenate([linear * sides[None, :] / sides[:, None], shift[:, None]], axis=1)

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

    @staticmethod
    def warp_labels(layers: Array, theta: Array) -> Array:
        """Label maps (L, H, W) resampled by what `sample` gave: the nearest pixel, 0 from outside."""
        height, width = layers.shape[1:]
        x, y = _middles(width).numpy(), _middles(height).numpy()
        (xx, xy, x0), (yx, yy, y0) = theta
        columns = np.floor((xx * x + (xy * y + x0)[:, None] + 1) / 2 * width).astype(np.int32)
        rows = np.floor((yx * x + (yy * y + y0)[:, None] + 1) / 2 * height).astype(np.int32)
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        found: Array = layers[:, rows.clip(0, height - 1), columns.clip(0, width - 1)] * inside
        return found


def _warp(image: Tensor, grid: Tensor, *, mode: Literal["bilinear", "nearest"]) -> Tensor:
    """`image` (C, *spatial) at the places of `grid`, 0 outside."""
    return grid_sample(image[None], grid, mode=mode, padding_mode="zeros", align_corners=False)[0]


@lru_cache(maxsize=16)
def _middles(count: int) -> Tensor:
    """(count,) float32: the middles of that many pixels, from -1 to 1 edge to edge."""
    return (torch.arange(count).float() * 2 + 1) / count - 1


ENTRY = Affine
