"""Training and the PyTorch backend warn where bfloat16 is slow."""

from __future__ import annotations

import logging
import platform
from pathlib import Path

import pytest

from medzoo.nn import torch_backend
from medzoo.recipe import TrainSection
from medzoo.training import trainer


@pytest.mark.skipif(platform.machine() != "x86_64" or not Path("/proc/cpuinfo").is_file(), reason="reads the flags")
def test_x86_without_avx512_has_no_instructions_for_it() -> None:
    flags = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")).split()
    assert torch_backend.is_emulated("cpu") == ("avx512f" not in flags)
    assert not torch_backend.is_emulated("cuda:0")


@pytest.mark.parametrize(("slow", "asked", "warned"), [(True, "bf16", 1), (True, "auto", 0), (False, "bf16", 0)])
def test_a_training_says_that_it_will_take_long(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, slow: bool, asked: str, warned: int
) -> None:
    monkeypatch.setattr(trainer, "is_emulated", lambda device: slow)
    with caplog.at_level(logging.WARNING):
        trainer.precision_options(TrainSection(precision=asked, epochs=1))
    assert [record.getMessage() for record in caplog.records] == [
        f"train.precision: bf16: {torch_backend.SLOW_BFLOAT16}"
    ] * warned


def test_so_does_a_prediction(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    from medzoo import load

    monkeypatch.setattr(torch_backend, "is_emulated", lambda device: device == "cpu")
    with caplog.at_level(logging.WARNING):
        backend = load("lenet-mass", backend="torch", device="cpu").backend
        torch_backend.TorchBackend(backend.net, backend.metadata, device="cpu", bf16=True)
    assert [record.getMessage() for record in caplog.records] == [f"bf16: {torch_backend.SLOW_BFLOAT16}"]
