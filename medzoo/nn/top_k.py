"""The best of many scores, ties in favour of the lower index in torch as in ONNX. Knows torch.

`torch.topk` leaves ties to chance; ONNX's TopK names the lower index first. Flat areas of a picture tie exactly.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


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
