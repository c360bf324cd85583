"""`log-scale`: spread dark values by a logarithm."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from medzoo.nn.steps import GraphStep


class LogScale(GraphStep):
    """`high * log(1 + x / knee) / log(1 + high / knee)`: 0 and `high` stay, darker values are spread over more of the
    range. The same for every picture, so that a part of one looks as the whole does. Values below 0 count as 0."""

    op: Literal["log-scale"] = "log-scale"
    knee: float = Field(8.0, gt=0, description="stored value about which the curve bends; the less, the more is spread")
    high: float = Field(255.0, gt=0, description="stored value that stays as it is")

    def build(self) -> nn.Module:
        return _LogScale(self.knee, self.high)


class _LogScale(nn.Module):
    def __init__(self, knee: float, high: float) -> None:
        super().__init__()
        self.knee, self.factor = knee, high / math.log1p(high / knee)

    def forward(self, image: Tensor) -> Tensor:
        # Not log1p, which ONNX has no operator for.
        return (image.clamp(min=0.0) / self.knee + 1.0).log() * self.factor


ENTRY = LogScale
