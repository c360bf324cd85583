"""Reference boxes of the proposal network, one grid a pyramid level. Knows torch alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def level_anchors(grid: tuple[int, int], *, stride: int, sizes: Sequence[float], ratios: Sequence[float]) -> Tensor:
    """Anchors (rows * columns * A, 4) of one level, row by row, A = len(sizes) * len(ratios) a place.

    Centres lie in the middle of the level's cells. `sizes` are square roots of areas in canvas pixels,
    `ratios` are height over width (Faster R-CNN, section 3.1.1).
    """
    size = torch.tensor(sizes, dtype=torch.float64)[:, None]
    root = torch.tensor(ratios, dtype=torch.float64).sqrt()[None, :]
    width, height = (size / root).reshape(-1), (size * root).reshape(-1)
    shapes = torch.stack([-width, -height, width, height], dim=1) / 2
    y, x = torch.meshgrid(*[(torch.arange(n, dtype=torch.float64) + 0.5) * stride for n in grid], indexing="ij")
    centres = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4)
    return (centres + shapes).reshape(-1, 4).float()


def pyramid_anchors(
    canvas: tuple[int, int],
    *,
    strides: Sequence[int],
    sizes: Sequence[Sequence[float]],
    ratios: Sequence[float],
) -> list[Tensor]:
    """`level_anchors` of every level over a canvas (height, width) that each stride divides."""
    return [
        level_anchors((canvas[0] // stride, canvas[1] // stride), stride=stride, sizes=level, ratios=ratios)
        for stride, level in zip(strides, sizes, strict=True)
    ]
