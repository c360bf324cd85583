"""The net computes in float32, whatever precision the program around it allows PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from medzoo import load
from medzoo.nn.torch_backend import TorchBackend


@pytest.mark.parametrize("around", ["highest", "high", "medium"])
def test_float32_is_never_rounded_and_what_was_chosen_stays_chosen(around: str) -> None:
    backend = load("lenet-mass", backend="torch", device="cpu").backend
    assert isinstance(backend, TorchBackend)
    seen: list[tuple[bool, str]] = []

    def note(*_: Any) -> None:
        seen.append((torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()))

    backend.net.register_forward_hook(note)
    inputs = {name: np.zeros((1, 1, 64, 64), np.float32) for name in backend.net.inputs}
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision(around)
        backend.run(inputs)
        assert torch.get_float32_matmul_precision() == around
        assert torch.backends.cudnn.allow_tf32 == before[1]
    finally:
        torch.set_float32_matmul_precision(before[0])
    assert seen == [(False, "highest")]
