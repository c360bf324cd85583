"""Tell if bfloat16 pays on the processor at hand. Knows torch, no nets."""

from __future__ import annotations

import torch

SLOW = "this processor has no instructions for bfloat16, so that it takes many times as long as float32"


def emulated(device: str) -> bool:
    """True if products in bfloat16 on `device` ("cpu", "cuda:0") are computed without native instructions.

    x86 without AVX-512 computes them one by one, a hundred times slower than in float32; torch's own test says where.
    """
    if device != "cpu":
        return False
    has_mkldnn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return not (has_mkldnn and torch.ops.mkldnn._is_mkldnn_bf16_supported())
