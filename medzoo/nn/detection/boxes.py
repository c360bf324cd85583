"""Boxes as tensors: anchors, area, overlap, the coding in which a network learns them, mirroring. Knows torch alone.

A box is [x0, y0, x1, y1] in continuous coordinates (edges, not pixel centres), x1 - x0 its width.
A mirror is named by the axes that change direction: x (left and right change places), y (up and down), xy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

# Largest log change of a side in one decoding; keeps exp finite (Faster R-CNN, reference implementation).
MAX_LOG_CHANGE = math.log(1000.0 / 16.0)

Weights = tuple[float, float, float, float]
UNIT: Weights = (1.0, 1.0, 1.0, 1.0)


def area(boxes: Tensor) -> Tensor:
    """Area (...,) of boxes (..., 4)."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union (N, M) of boxes a (N, 4) with boxes b (M, 4); 0 where both are empty."""
    low = torch.maximum(a[:, None, :2], b[None, :, :2])
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    common = (high - low).clamp(min=0).prod(dim=-1)
    union = area(a)[:, None] + area(b)[None, :] - common
    return torch.where(union > 0, common / union, torch.zeros_like(common))


def encode(boxes: Tensor, references: Tensor, *, weights: Weights = UNIT) -> Tensor:
    """Targets (..., 4) = w * (dx / W, dy / H, ln(w / W), ln(h / H)) that turn `references` into `boxes`.

    Differences of centres over the reference's size, and log ratios of sizes (Girshick 2014, appendix C).
    """
    size, reference = boxes[..., 2:] - boxes[..., :2], references[..., 2:] - references[..., :2]
    shift = ((boxes[..., :2] + boxes[..., 2:]) - (references[..., :2] + references[..., 2:])) / (2 * reference)
    return torch.cat([shift, torch.log(size / reference)], dim=-1) * boxes.new_tensor(weights)


def decode(deltas: Tensor, references: Tensor, *, weights: Weights = UNIT) -> Tensor:
    """Boxes (..., 4) from deltas (..., 4) and references that broadcast to them; the inverse of `encode`."""
    deltas = deltas / torch.tensor(weights, dtype=deltas.dtype, device=deltas.device)
    size = references[..., 2:] - references[..., :2]
    centre = (references[..., :2] + references[..., 2:]) / 2 + deltas[..., :2] * size
    half = torch.exp(deltas[..., 2:].clamp(max=MAX_LOG_CHANGE)) * size / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def clip(boxes: Tensor, valid_size: Tensor) -> Tensor:
    """Boxes (..., 4) limited to [0, width] x [0, height]; `valid_size` is (2,): width, height."""
    limit = torch.cat([valid_size, valid_size])
    return torch.minimum(boxes.clamp(min=0), limit)


def large_enough(boxes: Tensor, *, side: float = 0.01) -> Tensor:
    """Mask of the boxes (..., 4) of which both sides exceed `side`, as a bool tensor (...,)."""
    return ((boxes[..., 2:] - boxes[..., :2]) > side).all(dim=-1)


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


Mirror = Literal["x", "y", "xy"]


def mirror_picture(canvas: Tensor, valid_size: Tensor, way: Mirror) -> Tensor:
    """Canvas (B, C, H, W) with the picture that covers its top left `valid_size` (width, height) mirrored in place."""
    for axis, number, dim in (("x", 0, 3), ("y", 1, 2)):
        if axis in way:
            places = torch.arange(canvas.shape[dim], device=canvas.device)
            last = valid_size[number].long() - 1
            canvas = canvas.index_select(dim, torch.where(places <= last, last - places, places))
    return canvas


def mirror_boxes(boxes: Tensor, valid_size: Tensor, way: Mirror) -> Tensor:
    """Boxes (..., 4) of a picture of `valid_size` (width, height), in its mirrored copy; its own inverse."""
    x0, y0, x1, y1 = boxes.unbind(dim=-1)
    if "x" in way:
        x0, x1 = valid_size[0] - x1, valid_size[0] - x0
    if "y" in way:
        y0, y1 = valid_size[1] - y1, valid_size[1] - y0
    return torch.stack([x0, y0, x1, y1], dim=-1)


def mirror_deltas(deltas: Tensor, way: Mirror) -> Tensor:
    """Box deltas (..., 4) as `medzoo.nn.boxes.encode` gives them, of the mirrored copy; its own inverse."""
    signs = [-1.0 if axis in way else 1.0 for axis in "xy"]
    return deltas * deltas.new_tensor([*signs, 1.0, 1.0])
