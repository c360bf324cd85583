"""The torch backend: the net itself answers, with the interface that ONNX Runtime has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from medzoo.errors import UserError
from medzoo.nn.net import Net
from medzoo.runtime.metadata import Metadata
from medzoo.types import Array


class TorchBackend:
    """Runs a Net in evaluation mode; see medzoo.runtime.backend.Backend."""

    name = "torch"

    def __init__(self, net: Net, metadata: Metadata, *, device: str = "auto") -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise UserError("asked for cuda, but torch sees no CUDA device", hint="use --device cpu")
        self.device = "cpu" if device == "cpu" or not torch.cuda.is_available() else "cuda:0"
        self.net = net.to(self.device).eval()
        self.metadata = metadata

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """See Backend.run."""
        tensors = [torch.from_numpy(np.ascontiguousarray(inputs[name])).to(self.device) for name in self.net.inputs]
        with torch.inference_mode():
            answer = self.net(*tensors)
        return {name: answer[name].cpu().numpy() for name in outputs or answer}
