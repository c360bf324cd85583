"""Selection of boxes by score: non-maximum suppression of a fixed shape, and a stable top-k.

NMS is a mask over the boxes, so that a graph with it exports whole. `torch.topk` leaves ties to chance, while ONNX's
TopK names the lower index first; `stable_top_k` does so in both, for flat areas of a picture tie exactly.
Knows torch, torchvision's operator and, on export alone, onnxscript.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision.ops import nms as suppress


@torch.library.custom_op("medzoo::nms", mutates_args=())
def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float) -> Tensor:
    """Non-maximum suppression: a mask (B, N) of the kept boxes (B, N, 4) by scores (B, N), each image on its own.

    Greedy by falling score: a box goes if it overlaps one that stays by more than `iou_threshold`, or if its
    score is not above `score_threshold`. Classes that must not suppress each other go into rows of their own.
    """
    keep = torch.zeros_like(scores, dtype=torch.bool)
    for row, (row_boxes, row_scores) in enumerate(zip(boxes, scores, strict=True)):
        candidates = torch.nonzero(row_scores > score_threshold).squeeze(1)
        stays = suppress(row_boxes[candidates].float(), row_scores[candidates].float(), iou_threshold)
        keep[row, candidates[stays]] = True
    return keep


@nms.register_fake
def _(boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


def translate_nms(boxes: Any, scores: Any, iou_threshold: float, score_threshold: float) -> Any:
    """The same in ONNX: NonMaxSuppression with one class, its triples scattered into a mask."""
    from onnxscript import opset18 as op

    shape = op.Shape(scores)
    chosen = op.NonMaxSuppression(
        boxes,
        op.Unsqueeze(scores, op.Constant(value_ints=[1])),
        op.Slice(shape, op.Constant(value_ints=[1]), op.Constant(value_ints=[2])),
        op.Constant(value_floats=[iou_threshold]),
        op.Constant(value_floats=[score_threshold]),
    )
    places = op.Gather(chosen, op.Constant(value_ints=[0, 2]), axis=1)
    count = op.Slice(op.Shape(places), op.Constant(value_ints=[0]), op.Constant(value_ints=[1]))
    ones = op.Expand(op.Constant(value_floats=[1.0]), count)
    zeros = op.Expand(op.Constant(value_floats=[0.0]), shape)
    return op.Greater(op.ScatterND(zeros, places, ones), op.Constant(value_float=0.5))


@torch.library.custom_op("medzoo::stable_top_k", mutates_args=())
def stable_top_k(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest of scores (B, N), falling, and their indices int64, both (B, min(count, N))."""
    values, indices = scores.sort(dim=1, descending=True, stable=True)
    return values[:, :count].clone(), indices[:, :count].clone()


@stable_top_k.register_fake
def _(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    shape = (scores.shape[0], min(count, scores.shape[1]))
    return scores.new_empty(shape), torch.empty(shape, dtype=torch.int64, device=scores.device)


def translate_stable_top_k(scores: Any, count: int) -> Any:
    """The same in ONNX: TopK with as many as there are at most."""
    from onnxscript import opset18 as op

    width = op.Slice(op.Shape(scores), op.Constant(value_ints=[1]), op.Constant(value_ints=[2]))
    wanted = op.Min(op.Constant(value_ints=[count]), width)
    return op.TopK(scores, wanted, axis=1, largest=1, sorted=1)
