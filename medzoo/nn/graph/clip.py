"""`clip`: limit values to a range."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from medzoo.nn.steps import GraphStep


class Clip(GraphStep):
    """Limit values to [low, high]."""

    op: Literal["clip"] = "clip"
    low: float = Field(description="smallest value kept")
    high: float = Field(description="largest value kept")

    def build(self) -> nn.Module:
        return _Clip(self.low, self.high)


class _Clip(nn.Module):
    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, image: Tensor) -> Tensor:
        return image.clamp(self.low, self.high)


ENTRY = Clip
