"""A whole head by the full patch CNN on a GPU, against what the card multiplies at best: python -m benchmarks.gpu_head

The 5.9-million-parameter network on the MNI152 average brain (package nilearn), in float16 by ONNX Runtime, in
bfloat16 by torch, and in float32 by ONNX Runtime. `predict`: from the prepared array in the computer's memory to
labels there, as the Predictor does it; `gpu`: the same runs with inputs and outputs that stay on the card, one behind
the other. Labels are compared with the CPU's in float32 on a few slices. Nothing is measured where there is no GPU.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
import torch

from benchmarks.patch_cnn import dice, exported, head, metadata, network
from benchmarks.record import record, summary
from medzoo.export.half import half_bytes
from medzoo.nn.torch_backend import TorchBackend
from medzoo.runtime.backends import Backend
from medzoo.runtime.backends.devices import cuda_usable
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.decode.slices import segment_array
from medzoo.types import Array

REPEATS = 7
SLAB = 8  # slices at once, as the Predictor gives them to a GPU
COMPARED = 4  # slices that the CPU answers too


class Recorded:
    """A backend that keeps what it was given."""

    def __init__(self, backend: Backend) -> None:
        self.backend, self.name, self.device, self.metadata = backend, backend.name, backend.device, backend.metadata
        self.given: list[Array] = []

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """See Backend.run."""
        self.given.append(inputs["image"])
        return self.backend.run(inputs, outputs)


def matrix_rate(kind: torch.dtype, side: int = 8192) -> float:
    """FLOP/s of products of two random matrices."""
    left, right = (torch.randn(side, side, device="cuda").to(kind) for _ in range(2))
    return float(2 * side**3 / np.median(timed(lambda: left @ right, repeats=20)))


def timed(call: Callable[[], Any], *, repeats: int = REPEATS) -> list[float]:
    """Seconds of each call until the card is done, after two to warm it up."""
    found = []
    for number in range(repeats + 2):
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        if number > 1:
            found.append(time.perf_counter() - start)
    return found


def on_the_card(backend: Backend, given: Sequence[Array]) -> Callable[[], None]:
    """All runs of a head, inputs and outputs on the card."""
    if isinstance(backend, TorchBackend):
        tensors = [torch.from_numpy(array).cuda() for array in given]

        def by_torch() -> None:
            with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
                for tensor in tensors:
                    backend.net(tensor)

        return by_torch
    assert isinstance(backend, OnnxBackend)
    session = backend.session
    bindings = []
    for array in given:
        binding = session.io_binding()
        binding.bind_ortvalue_input("image", ort.OrtValue.ortvalue_from_numpy(array, "cuda", 0))
        binding.bind_output("labels", "cuda", 0)
        bindings.append(binding)

    def by_onnx_runtime() -> None:
        for binding in bindings:
            session.run_with_iobinding(binding)

    return by_onnx_runtime


def measured() -> dict[str, Any]:
    """Seconds of a head by each way, and the share of the card's matrix rate."""
    net, array = network(), head()
    raw = exported(net)
    macs = sum(p.numel() for name, p in net.named_parameters() if name.endswith("weight"))
    reference = OnnxBackend(raw, where="patch-cnn", device="cpu")
    some = np.array(array)
    middle = array.shape[3] // 2
    some[..., : middle - COMPARED // 2], some[..., middle + COMPARED // 2 :] = 0, 0
    expected = segment_array(reference, some)
    ways: dict[str, tuple[Backend, torch.dtype]] = {
        "float16, ONNX Runtime": (OnnxBackend(half_bytes(raw), where="fp16", device="cuda"), torch.float16),
        "float32, ONNX Runtime": (OnnxBackend(raw, where="fp32", device="cuda"), torch.float32),
        "bfloat16, torch": (TorchBackend(network(), metadata(net), device="cuda", bf16=True), torch.bfloat16),
    }
    rows: dict[str, Any] = {}
    for name, (backend, kind) in ways.items():
        recorded = Recorded(backend)
        start = time.perf_counter()
        segment_array(recorded, array, slab=SLAB)
        first = time.perf_counter() - start
        given = recorded.given
        pixels = sum(one.shape[0] * one.shape[2] * one.shape[3] for one in given)
        gpu = timed(on_the_card(backend, given))
        rate = matrix_rate(kind)
        rows[name] = {
            "predict_seconds": summary(timed(lambda one=backend: segment_array(one, array, slab=SLAB))),  # type: ignore[misc]
            "gpu_seconds": summary(gpu),
            "first_time_seconds": round(first, 3),
            "runs": len(given),
            "shape": list(given[0].shape),
            "TFLOP/s, direct convolution": round(2 * macs * pixels / float(np.median(gpu)) / 1e12, 1),
            "matrix TFLOP/s": round(rate / 1e12, 1),
            "rate over matrix rate": round(2 * macs * pixels / float(np.median(gpu)) / rate, 3),
            "mean Dice to the CPU's labels, of random weights": round(
                dice(expected, segment_array(backend, some, slab=SLAB)), 5
            ),
        }
        print(name, rows[name], file=sys.stderr)
    return {"head": list(array.shape[1:]), "parameters": sum(p.numel() for p in net.parameters()), "rows": rows}


def main() -> None:
    if not cuda_usable() or not torch.cuda.is_available():
        print("not measured: there is no CUDA device here that torch and ONNX Runtime can use", file=sys.stderr)
        return
    record("gpu_head", device=torch.cuda.get_device_name(), **measured())


if __name__ == "__main__":
    main()
