"""Graph steps: the part of preprocessing that is pure tensor arithmetic, trained with and exported with.

Each step is a pydantic model of its options (`op` is its name in a recipe) and builds a module that maps
float32 (B, C, *spatial) to the same layout. Statistics are taken per image and channel, never per batch,
so that an image's answer does not depend on its company.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn


class GraphStep(BaseModel):
    """Base of every graph step's options."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    op: str

    def build(self) -> nn.Module:
        """The step as a module."""
        raise TypeError(f"{type(self).__name__} does not define build")


class Scale(GraphStep):
    """Multiply by `factor`, then add `offset`; 1/255 brings 8-bit pictures to 0..1."""

    op: Literal["scale"] = "scale"
    factor: float = Field(1.0, description="what stored values are multiplied by")
    offset: float = Field(0.0, description="what is added after that")

    def build(self) -> nn.Module:
        return _Scale(self.factor, self.offset)


class Clip(GraphStep):
    """Limit values to [low, high]."""

    op: Literal["clip"] = "clip"
    low: float = Field(description="smallest value kept")
    high: float = Field(description="largest value kept")

    def build(self) -> nn.Module:
        return _Clip(self.low, self.high)


class Normalize(GraphStep):
    """Subtract `mean` and divide by `std`, channel by channel."""

    op: Literal["normalize"] = "normalize"
    mean: list[float] = Field(min_length=1, description="mean of each channel")
    std: list[float] = Field(min_length=1, description="standard deviation of each channel")

    def build(self) -> nn.Module:
        return _Normalize(self.mean, self.std)


class ZScore(GraphStep):
    """Zero mean and unit deviation per image and channel; `where: nonzero` leaves zeros exactly zero."""

    op: Literal["zscore"] = "zscore"
    where: Literal["nonzero", "all"] = Field("all", description="which pixels the statistics are taken over")

    def build(self) -> nn.Module:
        return _ZScore(self.where == "nonzero")


class Resize(GraphStep):
    """Resize pictures (B, C, H, W) to `size` (H, W), bilinear with half-pixel centres."""

    op: Literal["resize"] = "resize"
    size: tuple[int, int] = Field(description="height and width after the step")

    def build(self) -> nn.Module:
        return _Resize(self.size)


GRAPH_STEPS: Mapping[str, type[GraphStep]] = {
    step.model_fields["op"].default: step for step in (Scale, Clip, Normalize, ZScore, Resize)
}


def build_steps(steps: Sequence[Mapping[str, Any]]) -> nn.Sequential:
    """The graph steps of a recipe, in order, as one module; no steps give the identity."""
    return nn.Sequential(*[GRAPH_STEPS[step["op"]](**step).build() for step in steps])


class _Scale(nn.Module):
    def __init__(self, factor: float, offset: float) -> None:
        super().__init__()
        self.factor, self.offset = factor, offset

    def forward(self, image: Tensor) -> Tensor:
        return image * self.factor + self.offset


class _Clip(nn.Module):
    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, image: Tensor) -> Tensor:
        return image.clamp(self.low, self.high)


class _Normalize(nn.Module):
    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        # Not persistent: they are the recipe's numbers, not learned ones.
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", torch.tensor(std), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (image.ndim - 2)
        return (image - self.mean.view(shape)) / self.std.view(shape)


class _ZScore(nn.Module):
    def __init__(self, nonzero: bool) -> None:
        super().__init__()
        self.nonzero = nonzero

    def forward(self, image: Tensor) -> Tensor:
        axes = tuple(range(2, image.ndim))
        inside = (image != 0).to(image.dtype) if self.nonzero else torch.ones_like(image)
        count = inside.sum(axes, keepdim=True).clamp(min=1.0)
        mean = (image * inside).sum(axes, keepdim=True) / count
        centred = (image - mean) * inside
        variance = (centred * centred).sum(axes, keepdim=True) / count
        return centred / variance.clamp(min=1e-12).sqrt()


class _Resize(nn.Module):
    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, image: Tensor) -> Tensor:
        return nn.functional.interpolate(image, size=self.size, mode="bilinear", align_corners=False)
