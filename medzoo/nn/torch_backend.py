"""The torch backend: the net itself predicts, behind the interface of ONNX Runtime's backend, also in bfloat16."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from medzoo.errors import UserError
from medzoo.metrics.calibration import tempered
from medzoo.nn.net import Net
from medzoo.runtime.backends import Backend
from medzoo.runtime.familiarity import OUTPUT
from medzoo.runtime.metadata import Metadata
from medzoo.task import task_of
from medzoo.types import Array

log = logging.getLogger("medzoo.nn")


class TorchBackend:
    """Runs a Net in evaluation mode; see medzoo.runtime.backends.Backend.

    `embedder`: gives the output that the model's guard judges: the graph, which alone has it.
    `bf16`: convolutions and products in bfloat16, which newer CPUs and GPUs have instructions for.
    """

    name = "torch"

    def __init__(
        self,
        net: Net,
        metadata: Metadata,
        *,
        device: str = "auto",
        bf16: bool = False,
        embedder: Backend | None = None,
    ) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise UserError("device cuda was requested, but torch sees no CUDA device", hint="use --device cpu")
        self.device = "cpu" if device == "cpu" or not torch.cuda.is_available() else "cuda:0"
        self.net = net.to(self.device).eval()
        self.metadata = metadata.model_copy(update={"precision": "bf16"}) if bf16 else metadata
        if bf16 and is_emulated(self.device):
            log.warning("bf16: %s", SLOW_BFLOAT16)
        self._bf16 = bf16
        self._embedder = embedder
        if bf16 and metadata.geometry.dims == 2:
            self.net = self.net.to(memory_format=torch.channels_last)  # as its kernels want them, twice as fast

    @property
    def canvas(self) -> tuple[int, int] | None:
        """Height and width into which the net fits pictures, if it does."""
        found = getattr(self.net, "canvas", None)
        if found is None and task_of(self.metadata.task).gives_boxes:
            found = getattr(getattr(self.net, "params", None), "size", None)
        return (int(found[0]), int(found[1])) if isinstance(found, tuple) and len(found) == 2 else None

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """See Backend.run."""
        tensors = [torch.from_numpy(np.ascontiguousarray(inputs[name])).to(self.device) for name in self.net.inputs]
        kind = self.device.partition(":")[0]
        with torch.inference_mode(), _full_float32(), torch.autocast(kind, torch.bfloat16, enabled=self._bf16):
            answer = self.net(*tensors)
        asked = outputs or [*answer, *([OUTPUT] if self._embedder is not None else [])]
        found = {name: _plain(answer[name]).cpu().numpy() for name in asked if name in answer}
        local = (self.metadata.calibration or {}).get("local_temperature")
        if local is not None and "probabilities" in found:  # set at a site, where the net's own weights stayed
            found["probabilities"] = tempered(found["probabilities"], local).astype(np.float32)
        if OUTPUT in asked and self._embedder is not None:
            found |= self._embedder.run(inputs, [OUTPUT])
        return found


@contextmanager
def _full_float32() -> Iterator[None]:
    """float32 where it is said to be: torch rounds a GPU's convolutions to 10 bits (TF32) as it comes, and products
    where the caller's program lets it."""
    chosen, asked = torch.backends.cudnn, torch.get_float32_matmul_precision()
    kept = {"benchmark": chosen.benchmark, "deterministic": chosen.deterministic}
    with chosen.flags(enabled=True, **kept, allow_tf32=False):
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(asked)


def _plain(tensor: Tensor) -> Tensor:
    """numpy has no bfloat16."""
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor


SLOW_BFLOAT16 = "this processor has no instructions for bfloat16, so that it takes many times as long as float32"


def is_emulated(device: str) -> bool:
    """True if products in bfloat16 on `device` ("cpu", "cuda:0") are computed without native instructions.

    x86 without AVX-512 computes them one by one, a hundred times slower than in float32; torch's own test says where.
    """
    if device != "cpu":
        return False
    has_mkldnn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return not (has_mkldnn and torch.ops.mkldnn._is_mkldnn_bf16_supported())
