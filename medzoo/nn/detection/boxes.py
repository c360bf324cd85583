"""Boxes as tensors: area, overlap, and the coding in which a network learns them. Knows torch alone.

A box is [x0, y0, x1, y1] in continuous coordinates (edges, not pixel centres), x1 - x0 its width.
"""

from __future__ import annotations

import math

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
