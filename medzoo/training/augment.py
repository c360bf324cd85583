"""Random changes to training pictures, each a pydantic model whose `op` is its name in `train.augment`.

A change maps float32 (C, H, W) of stored values to the same shape; what it draws comes from the generator it
is handed, so that a batch stays a function of (seed, epoch, step). Brightness and noise are relative to the
picture's own spread, so that 8-bit and 16-bit pictures take the same numbers. Exact zeros beside the picture
(where it does not cover the canvas) stay zeros.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn.functional import conv2d, grid_sample, interpolate, pad

from medzoo.types import Array

Share = Annotated[float, Field(ge=0, le=1)]


class Augmentation(BaseModel):
    """Base of every random change; `share` of the pictures are changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    op: str
    share: Share = Field(1.0, description="share of the pictures that are changed")

    def apply(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """The changed picture."""
        raise TypeError(f"{type(self).__name__} does not define apply")


class Affine(Augmentation):
    """Rotate, shift, scale and stretch at once, bilinear; what comes from outside is zero."""

    op: Literal["affine"] = "affine"
    rotate: float = Field(10.0, ge=0, le=180, description="largest angle, degrees")
    translate: Share = Field(0.05, description="largest shift, as a share of the side")
    scale: float = Field(0.1, ge=0, lt=1, description="largest change of size, as a share")
    stretch: float = Field(0.0, ge=0, lt=1, description="largest change of the aspect, as a share")

    def apply(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """See Augmentation.apply."""
        return self.warp(image, self.draw(image, rng))

    def draw(self, image: Tensor, rng: np.random.Generator) -> Array:
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
        """The picture changed by what `draw` gave."""
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


class Flip(Augmentation):
    """Mirror about the vertical (x) or horizontal (y) middle; only where the two sides mean the same."""

    op: Literal["flip"] = "flip"
    axis: Literal["x", "y"] = Field("x", description="x: left and right change places, y: up and down")
    share: Share = Field(0.5, description="share of the pictures that are mirrored")

    def apply(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """See Augmentation.apply."""
        return image.flip(2 if self.axis == "x" else 1)


class Intensity(Augmentation):
    """Contrast about the mean, and brightness, of what the picture covers."""

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


class Gamma(Augmentation):
    """Values raised to a power between 1 / (1 + strength) and 1 + strength, on the picture's own range."""

    op: Literal["gamma"] = "gamma"
    strength: float = Field(0.3, gt=0, description="largest change of the exponent")

    def apply(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """See Augmentation.apply."""
        power = (1 + self.strength) ** rng.uniform(-1, 1)
        low, high = image.min(), image.max()
        span = (high - low).clamp(min=1e-6)
        changed: Tensor = low + span * ((image - low) / span) ** power
        return changed


class Blur(Augmentation):
    """A Gaussian blur."""

    op: Literal["blur"] = "blur"
    sigma: float = Field(1.5, gt=0, description="largest standard deviation, pixels")
    share: Share = Field(0.2, description="share of the pictures that are changed")

    def apply(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """See Augmentation.apply."""
        sigma = rng.uniform(0.1, 1.0) * self.sigma
        reach = max(1, round(3 * sigma))
        line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1).float() / sigma) ** 2)
        line = (line / line.sum()).view(1, 1, -1, 1)
        padded = pad(image[:, None], (reach,) * 4, mode="replicate")
        return conv2d(conv2d(padded, line), line.transpose(2, 3))[:, 0]


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


class Cutout(Augmentation):
    """A rectangle of zeros (DeVries and Taylor, arXiv 1708.04552)."""

    op: Literal["cutout"] = "cutout"
    side: Share = Field(0.25, description="largest side, as a share of the picture's")
    share: Share = Field(0.3, description="share of the pictures that are changed")

    def apply(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """See Augmentation.apply."""
        image = image.clone()
        window = []
        for length in image.shape[1:]:
            size = int(rng.uniform(0.3, 1.0) * self.side * length)
            start = int(rng.integers(0, length - size + 1))
            window.append(slice(start, start + size))
        image[:, window[0], window[1]] = 0
        return image


AUGMENTATIONS: Mapping[str, type[Augmentation]] = {
    kind.model_fields["op"].default: kind for kind in (Affine, Flip, Intensity, Gamma, Blur, Speckle, Cutout)
}


def augment(image: Tensor, changes: Sequence[Augmentation], rng: np.random.Generator) -> Tensor:
    """`image` (C, H, W) after each change, in order."""
    for change in changes:
        if rng.random() < change.share:
            image = change.apply(image, rng)
    return image
