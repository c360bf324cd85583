"""`normalize`: subtract a mean and divide by a standard deviation, channel by channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from medzoo.nn.steps import GraphStep


class Normalize(GraphStep):
    """Subtract `mean` and divide by `std`, channel by channel."""

    op: Literal["normalize"] = "normalize"
    mean: list[float] = Field(min_length=1, description="mean of each channel")
    std: list[float] = Field(min_length=1, description="standard deviation of each channel")

    def build(self) -> nn.Module:
        return _Normalize(self.mean, self.std)


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


ENTRY = Normalize
