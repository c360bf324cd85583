"""Heads of a region CNN on pooled features: class and box, and a mask (Mask R-CNN: He et al., ICCV 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn

from medzoo.nn.layers import conv3x3, init_normal

POOL = 7
"""Side of the features that RoIAlign pools of a region."""


class RegionHead(nn.Module):
    """Two layers over a region's features, then its class (the last is background) and one box."""

    def __init__(self, channels: int, hidden: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Linear(channels * POOL * POOL, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.dropout = nn.Dropout(dropout)
        self.classes = nn.Linear(hidden, classes + 1)
        self.boxes = nn.Linear(hidden, 4)
        init_normal(self.classes, std=0.01)
        init_normal(self.boxes, std=0.001)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (R, classes + 1) and deltas (R, 4) of pooled features (R, channels, POOL, POOL)."""
        hidden = self.dropout(nn.functional.relu(self.first(pooled.flatten(1))))
        hidden = self.dropout(nn.functional.relu(self.second(hidden)))
        return self.classes(hidden), self.boxes(hidden)


_SAMPLES = 2  # points along a side of a mask's cell at which the target is read


class MaskParams(BaseModel):
    """Parameters of the mask head."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    size: int = Field(28, ge=8, le=112, description="side of a mask; features of half that side are pooled")
    channels: int = Field(96, ge=1, description="channels of the convolutions")
    convs: int = Field(4, ge=0, le=8, description="convolutions before the features are doubled in size")
    light: bool = Field(True, description="separable 3 x 3 convolutions")
    regions: int = Field(32, ge=1, description="regions with an object a picture in the mask loss")

    @field_validator("size")
    @classmethod
    def _even(cls, size: int) -> int:
        if size % 2:
            raise ValueError("size must be even")
        return size


class MaskHead(nn.Module):
    """Convolutions over a region's features, doubled in size, then a mask a class."""

    def __init__(self, params: MaskParams, *, inputs: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for place in range(params.convs):
            layers += [conv3x3(params.channels if place else inputs, params.channels, light=params.light), nn.ReLU()]
        self.convs = nn.Sequential(*layers)
        self.upsample = nn.ConvTranspose2d(params.channels if params.convs else inputs, params.channels, 2, stride=2)
        self.masks = nn.Conv2d(params.channels, classes, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        nn.init.normal_(self.masks.weight, std=0.01)

    def forward(self, pooled: Tensor) -> Tensor:
        """Logits (R, classes, m, m) of pooled features (R, inputs, m / 2, m / 2)."""
        logits: Tensor = self.masks(nn.functional.relu(self.upsample(self.convs(pooled))))
        return logits


def mask_of_class(logits: Tensor, labels: Tensor) -> Tensor:
    """The logits (R, m, m) of each region's class, of logits (R, classes, m, m) and labels (R,)."""
    place = labels.view(-1, 1, 1, 1).expand(-1, 1, *logits.shape[2:])
    return logits.gather(1, place).squeeze(1)


def mask_targets(layers: Tensor, numbers: Tensor, regions: Tensor, *, size: int) -> Tensor:
    """Masks (P, size, size) float, 0 or 1, of objects `numbers` (P,) inside regions (P, 4) of an image.

    layers (L, H, W): object k has the value k + 1 in one of them (medzoo.data.instances). A cell belongs to the object
    where half of the points in it or more do.
    """
    points = size * _SAMPLES
    steps = (torch.arange(points, device=regions.device) + 0.5) / points
    x, y = ((regions[:, a, None] + (regions[:, a + 2] - regions[:, a])[:, None] * steps).floor().long() for a in (0, 1))
    height, width = layers.shape[1:]
    inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None, :]
    found = layers[:, y.clamp(0, height - 1)[:, :, None], x.clamp(0, width - 1)[:, None, :]]
    mine = ((found == numbers.view(1, -1, 1, 1) + 1).any(dim=0) & inside).float()
    cells = nn.functional.avg_pool2d(mine[:, None], _SAMPLES)[:, 0]
    return (cells >= 0.5).float()


def mask_loss(logits: Tensor, targets: Sequence[Tensor]) -> Tensor:
    """Mean binary cross-entropy of logits (P, m, m) and all targets, each (p, m, m); 0 where there are none."""
    if not len(logits):
        return logits.sum()
    return nn.functional.binary_cross_entropy_with_logits(logits, torch.cat([*targets]))
