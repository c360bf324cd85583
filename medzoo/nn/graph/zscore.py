"""`zscore`: zero mean and unit standard deviation per image and channel."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from medzoo.nn.steps import GraphStep


class ZScore(GraphStep):
    """Zero mean and unit deviation per image and channel; `where: nonzero` leaves zeros exactly zero."""

    op: Literal["zscore"] = "zscore"
    where: Literal["nonzero", "all"] = Field("all", description="which pixels the statistics are taken over")

    def build(self) -> nn.Module:
        return _ZScore(self.where == "nonzero")


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


ENTRY = ZScore
