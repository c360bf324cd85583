"""`blobs`: draw bright blobs into slices of a scan as lesions to learn from, where too few real ones are known."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from scipy.ndimage import gaussian_filter, uniform_filter
from torch import Tensor

from medzoo.augment.augmentation import Augmentation, Donors, Labelled
from medzoo.types import Array

# A blob keeps this many pixels from other objects.
APART = 3.0
# Nothing smaller is drawn.
LEAST = 4


class Blobs(Augmentation):
    """Bright blobs of irregular outline and blurred rim, as lesions of a brain-extracted FLAIR scan look.

    Each lies where the picture is not zero and not brighter than usual, and follows on through the channels, which
    are neighbouring slices. Its box is that of what the middle channel shows of it. Sides are pixels of the canvas,
    brightness is in standard deviations of the picture.
    """

    adds_objects: ClassVar[bool] = True
    op: Literal["blobs"] = "blobs"
    count: float = Field(2.0, gt=0, description="mean number of blobs in a picture (Poisson)")
    radius: tuple[float, float] = Field((3.0, 16.0), description="least and largest radius, pixels of the canvas")
    contrast: tuple[float, float] = Field((0.8, 3.0), description="least and largest brightness above the surroundings")
    step: float = Field(2.0, gt=0, description="distance of two slices, pixels of the canvas")
    border: int = Field(6, ge=0, description="least distance of a blob's middle from zeros, pixels")
    share: float = Field(0.7, ge=0, le=1, description="share of the pictures that are changed")

    def apply_labelled(self, sample: Labelled, rng: np.random.Generator, *, donors: Donors) -> Labelled:
        """See Augmentation.apply_labelled; blobs are of the first class."""
        image, added = self.add(sample.image, sample.boxes, rng)
        return sample.with_objects(image, added, np.zeros(len(added), np.int64))

    def add(self, image: Tensor, boxes: Array, rng: np.random.Generator) -> tuple[Tensor, Array]:
        """The picture (C, H, W) with blobs, and their boxes (M, 4); none touches one of `boxes` (N, 4)."""
        array = image.numpy().astype(np.float32)
        middle = array[len(array) // 2]
        covered = middle != 0
        if not covered.any():
            return image, np.zeros((0, 4), np.float32)
        array, spread = array.copy(), float(middle[covered].std())
        inside = uniform_filter(covered.astype(np.float32), 2 * self.border + 1) > 0.999
        level = uniform_filter(middle, 7)
        places = np.argwhere(inside & (level < float(np.median(middle[covered])) + 0.5 * spread))
        made: list[Array] = []
        for _ in range(int(rng.poisson(self.count))):
            if not len(places):
                break
            radius = math.exp(rng.uniform(*np.log(self.radius)))
            centre = places[rng.integers(len(places))]
            box = self._draw(array, centre, radius, spread, np.concatenate([boxes, *made]).reshape(-1, 4), rng)
            if box is not None:
                made.append(box[None])
        return torch.from_numpy(array), np.concatenate([np.zeros((0, 4), np.float32), *made])

    def _draw(
        self, array: Array, centre: Array, radius: float, spread: float, others: Array, rng: np.random.Generator
    ) -> Array | None:
        """Draw one blob into `array` and return its box; None, and nothing drawn, where it would not fit."""
        reach = math.ceil(1.8 * radius) + 2
        low = np.maximum(centre - reach, 0)
        high = np.minimum(centre + reach + 1, array.shape[1:])
        window = (slice(None), slice(low[0], high[0]), slice(low[1], high[1]))
        depth = (np.arange(len(array)) - len(array) // 2) * self.step + rng.uniform(-0.6, 0.6) * radius
        z, y, x = np.meshgrid(
            depth, *(np.arange(a, b) - c for a, b, c in zip(low, high, centre, strict=True)), indexing="ij"
        )
        # An ellipse turned at random, its rim moved in and out by smooth noise.
        angle, ratio = rng.uniform(0, math.pi), math.exp(rng.uniform(0, 0.9))
        along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
        distance = np.sqrt((along / math.sqrt(ratio)) ** 2 + (across * math.sqrt(ratio)) ** 2 + z**2) / radius
        noise = gaussian_filter(rng.standard_normal(distance.shape), (1, 0.5 * radius, 0.5 * radius))
        rim = 1 - distance + rng.uniform(0, 0.3) * noise / max(float(noise.std()), 1e-6)
        shown = (array[window] != 0) & (rim > 0)
        rows, columns = (np.flatnonzero(shown[len(array) // 2].any(axis=axis)) for axis in (1, 0))
        if min(len(rows), len(columns)) < LEAST:
            return None
        box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32) + np.tile(low[::-1], 2)
        if ((others[:, :2] < box[2:] + APART) & (others[:, 2:] > box[:2] - APART)).all(axis=1).any():
            return None
        # The mask reaches a half at the rim; bright blobs are often flat on top.
        soft = 1 / (1 + np.exp(-rim * radius / rng.uniform(0.4, 1.2)))
        grain = gaussian_filter(rng.standard_normal(distance.shape), (0, 1.5, 1.5))
        bright = rng.uniform(*self.contrast) * spread * (1 + rng.uniform(0, 0.5) * grain)
        below = float(np.median(array[window][shown]))
        region = array[window]
        changed = region + soft * (below + bright - region)
        array[window] = np.where(region != 0, changed, region)
        drawn: Array = box.astype(np.float32)
        return drawn


ENTRY = Blobs
