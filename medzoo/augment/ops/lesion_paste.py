"""`lesion-paste`: put lesions of one training image into another, with a box around what was really pasted.

Copy-paste after Ghiasi et al., CVPR 2021, kept to one data set, and with it to one modality.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from scipy.ndimage import binary_dilation, gaussian_filter, label
from torch import Tensor
from torch.nn.functional import interpolate

from medzoo.augment.augmentation import Augmentation, Donors, Labelled, Lesion, Share
from medzoo.boxes import box_iou, mask_to_box
from medzoo.types import Array

_TRIES = 12  # places that are looked at before a picture stays as it is
_RING = 4  # pixels around a lesion by which its surroundings are known
_LEAST = 4  # pixels along a side of a lesion that is worth pasting
# Of the picture under a lesion so much must be picture, and not what lies beside it.
_COVERED = 0.9


class LesionPaste(Augmentation):
    """Put up to `count` lesions of another training picture into this one, each mirrored and resized at random.

    A lesion keeps its outline and its texture; its grey values are moved so that its surroundings agree with those
    it comes to, and its rim fades over `feather` pixels. It never covers an object that is there, nor leaves the
    picture. It needs data with outlines (masks), and a detector that looks at whole pictures or slices.
    """

    adds_objects: ClassVar[bool] = True
    needs_outlines: ClassVar[bool] = True
    op: Literal["lesion-paste"] = "lesion-paste"
    share: Share = Field(0.3, description="share of the pictures that are changed")
    count: int = Field(1, ge=1, le=20, description="most lesions put into one picture")
    scale: float = Field(0.2, ge=0, lt=1, description="largest change of size, as a share")
    shift: Share = Field(0.4, description="largest way from where it lay in its own picture, as a share of the side")
    feather: float = Field(1.5, ge=0, description="deviation of the blur of its rim, pixels")
    mirror: bool = Field(True, description="mirror half of them, left and right")

    def apply_labelled(self, sample: Labelled, rng: np.random.Generator, *, donors: Donors) -> Labelled:
        """See Augmentation.apply_labelled."""
        for lesion in list(donors(rng))[: self.count]:
            image, box = self.put(sample.image, sample.boxes, lesion, rng)
            if box is not None:
                sample = sample.with_objects(image, box[None], np.array([lesion.label]))
        return sample

    def put(self, image: Tensor, boxes: Array, lesion: Lesion, rng: np.random.Generator) -> tuple[Tensor, Array | None]:
        """The picture (C, H, W) with the lesion, and its box (4,); the picture itself and None where it fits nowhere.

        boxes (N, 4): of what is there already.
        """
        patch, mask = self._changed(lesion, rng)
        height, width = image.shape[1:]
        rows, columns = mask.shape
        bounds = _tight(mask)
        if bounds is None or rows > height or columns > width:
            return image, None
        for _ in range(_TRIES):
            way = rng.uniform(-self.shift, self.shift, 2) * (height, width)
            y = int(np.clip(round(lesion.corner[0] + way[0]), 0, height - rows))
            x = int(np.clip(round(lesion.corner[1] + way[1]), 0, width - columns))
            box = bounds + np.array([x, y, x, y])
            ground = image[:, y : y + rows, x : x + columns]
            covered = (ground != 0).any(dim=0).numpy()[mask].mean()
            if covered >= _COVERED and not (len(boxes) and box_iou(box[None], boxes).any()):
                changed = image.clone()
                changed[:, y : y + rows, x : x + columns] = self._blended(ground, patch, mask)
                return changed, box.astype(np.float32)
        return image, None

    def _changed(self, lesion: Lesion, rng: np.random.Generator) -> tuple[Tensor, Array]:
        """The cut-out and its mask, mirrored and resized."""
        factor = 1 + rng.uniform(-self.scale, self.scale)
        mirrored = rng.random() < 0.5 and self.mirror
        both = torch.cat([lesion.image, torch.from_numpy(lesion.mask).float()[None]])[None]
        size = [max(1, round(n * factor)) for n in lesion.mask.shape]
        both = interpolate(both, size=size, mode="bilinear", align_corners=False)[0]
        if mirrored:
            both = both.flip(2)
        return both[:-1], (both[-1] >= 0.5).numpy()

    def _blended(self, ground: Tensor, patch: Tensor, mask: Array) -> Tensor:
        """`ground` (C, h, w) with the lesion on it."""
        ring = torch.from_numpy(binary_dilation(mask, iterations=_RING) & ~mask)
        if ring.any():
            there, mine = ground[:, ring], patch[:, ring]
            gain = ((there.std(dim=1) + 1e-6) / (mine.std(dim=1) + 1e-6)).clamp(0.67, 1.5)
            patch = (patch - mine.mean(dim=1)[:, None, None]) * gain[:, None, None] + there.mean(dim=1)[:, None, None]
        low, high = float(ground.min()), max(float(ground.max()), float(patch.max()))
        # Half of the rim lies on either side of the outline, so that the outline stays where its box says.
        alpha = torch.from_numpy(gaussian_filter(mask.astype(np.float32), self.feather))
        return ground + alpha * (patch.clamp(min(low, 0.0), high) - ground)


def cut_out(image: Tensor, mask: Array, boxes: Array, labels: Array) -> list[Lesion]:
    """The lesions of a picture (C, H, W): the outline `mask` (H, W) inside each of its boxes (N, 4)."""
    found = []
    height, width = mask.shape
    for box, kind in zip(boxes, labels, strict=True):
        x0, y0 = np.floor(box[:2]).astype(int)
        x1, y1 = np.ceil(box[2:]).astype(int)
        own = np.zeros_like(mask)
        own[max(y0, 0) : y1, max(x0, 0) : x1] = mask[max(y0, 0) : y1, max(x0, 0) : x1]
        bounds = _tight(own)
        if bounds is None or (bounds[2:] - bounds[:2]).min() < _LEAST:
            continue
        x0, y0 = np.maximum(bounds[:2] - _RING, 0)
        x1, y1 = np.minimum(bounds[2:] + _RING, (width, height))
        one = _largest(own)[y0:y1, x0:x1]
        found.append(Lesion(image[:, y0:y1, x0:x1].clone(), one, int(kind), (int(y0), int(x0))))
    return found


def _largest(mask: Array) -> Array:
    numbers, count = label(mask)
    if count < 2:
        return mask
    largest: Array = numbers == 1 + np.bincount(numbers.ravel())[1:].argmax()
    return largest


def _tight(mask: Array) -> Array | None:
    """The box (4,) x0, y0, x1, y1 of the largest part of a mask, None of an empty one."""
    box = mask_to_box(_largest(mask))
    return None if box is None else box.astype(int)


ENTRY = LesionPaste
