"""Features of regions: RoIAlign over a whole pyramid in one call. Knows torch and torchvision's RoIAlign."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

# A region is read from the finest level on which its side spans fewer cells than this (FPN, equation 1).
CELLS = 28.0


def region_levels(regions: Tensor, strides: Sequence[int]) -> Tensor:
    """Pyramid level (...,) int64 of regions (..., 4), by the square root of their area."""
    size = (regions[..., 2:] - regions[..., :2]).clamp(min=0).prod(dim=-1).sqrt()
    bounds = torch.tensor([CELLS * stride for stride in strides[:-1]], device=regions.device)
    return (size[..., None] >= bounds).sum(dim=-1)


def stack_levels(features: Sequence[Tensor]) -> tuple[Tensor, list[int]]:
    """All levels (B, C, h, w) below each other in one map, and the row at which each begins.

    Every level has its border repeated once around it, which is what RoIAlign reads beyond a map's edge; so
    one call on the atlas gives what a call on each level would.
    """
    width = max(level.shape[3] for level in features) + 2
    rows, begin, parts = [], 0, []
    for level in features:
        bordered = nn.functional.pad(level, (1, 1, 1, 1), mode="replicate")
        parts.append(nn.functional.pad(bordered, (0, width - bordered.shape[3])))
        rows.append(begin + 1)
        begin += bordered.shape[2]
    return torch.cat(parts, dim=2), rows


def pool_regions(
    features: Sequence[Tensor], regions: Tensor, *, strides: Sequence[int], side: int, samples: int = 2
) -> Tensor:
    """Features (B * K, C, side, side) of regions (B, K, 4) in canvas pixels, which must lie on the canvas.

    RoIAlign (Mask R-CNN, section 3) with half-pixel centres and `samples` x `samples` points a cell.
    """
    stitched, rows = stack_levels(features)
    level = region_levels(regions, strides)
    scale = torch.tensor([1.0 / stride for stride in strides], device=regions.device)[level]
    row = torch.tensor(rows, dtype=torch.float32, device=regions.device)[level]
    column = torch.ones_like(row)
    placed = regions * scale[..., None] + torch.stack([column, row, column, row], dim=-1)
    index = torch.arange(regions.shape[0], device=regions.device, dtype=regions.dtype)[:, None, None]
    indexed = torch.cat([index.expand(-1, regions.shape[1], 1), placed], dim=2).reshape(-1, 5)
    pooled: Tensor = roi_align(stitched, indexed, (side, side), 1.0, samples, True)
    return pooled
