"""`resize`: resample pictures to one size."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from medzoo.nn.steps import GraphStep


class Resize(GraphStep):
    """Resize pictures (B, C, H, W) to `size` (H, W), bilinear with half-pixel centres."""

    op: Literal["resize"] = "resize"
    size: tuple[int, int] = Field(description="height and width after the step")

    def build(self) -> nn.Module:
        return _Resize(self.size)


class _Resize(nn.Module):
    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, image: Tensor) -> Tensor:
        return nn.functional.interpolate(image, size=self.size, mode="bilinear", align_corners=False)


ENTRY = Resize
