"""Export a net through the parity gate: refused unless ONNX Runtime gives the outputs that torch gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medzoo.export.onnx_file import onnx_bytes
from medzoo.export.stored import pack_half_weights
from medzoo.nn.net import Net
from medzoo.nn.torch_backend import TorchBackend
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.metadata import Metadata
from medzoo.runtime.parity.gate import Golden, check_parity, dump_golden
from medzoo.task import task_of


@dataclass(frozen=True)
class Exported:
    """An export that passed: the ONNX file, the golden outputs (.npz), the parity report, and the inputs compared."""

    onnx: bytes
    golden: bytes
    parity: Mapping[str, Any]
    inputs: Sequence[Golden]


def export_checked(
    net: Net, metadata: Metadata, golden: Sequence[Golden], *, where: str, halved: bool = False
) -> Exported:
    """Export a net through the gate; `halved`: with its (rounded) weights stored as float16.

    Raises UserError, and leaves nothing, if ONNX Runtime and torch differ.
    """
    stored = net.training_input.probes(net, metadata, golden)
    torch_side = TorchBackend(net, metadata, device="cpu")
    inputs, moved = task_of(metadata.task).steady_inputs(torch_side, [*stored, *golden])
    example = next(one.inputs for one in inputs if len(next(iter(one.inputs.values()))) > 1)
    raw = onnx_bytes(net, metadata, example=example)
    if halved:
        raw = pack_half_weights(raw)
    backend = OnnxBackend(raw, where=where, device="cpu")
    parity, outputs = check_parity(torch_side, backend, inputs, where=where)
    parity = parity | ({"undecided": moved} if moved else {})
    return Exported(raw, dump_golden(inputs[: len(stored)], outputs[: len(stored)]), parity, inputs)
