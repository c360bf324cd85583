"""`scale`: multiply by a factor and add an offset."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from medzoo.nn.steps import GraphStep


class Scale(GraphStep):
    """Multiply by `factor`, then add `offset`; 1/255 brings 8-bit pictures to 0..1."""

    op: Literal["scale"] = "scale"
    factor: float = Field(1.0, description="what stored values are multiplied by")
    offset: float = Field(0.0, description="what is added after that")

    def build(self) -> nn.Module:
        return _Scale(self.factor, self.offset)


class _Scale(nn.Module):
    def __init__(self, factor: float, offset: float) -> None:
        super().__init__()
        self.factor, self.offset = factor, offset

    def forward(self, image: Tensor) -> Tensor:
        return image * self.factor + self.offset


ENTRY = Scale
