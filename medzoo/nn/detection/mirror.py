"""Pictures on a canvas, boxes and box deltas seen in a mirror. Knows torch alone.

A way is the axis or axes that change direction: x (left and right change places), y (up and down), xy.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

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
