"""Eight bits: convolutions and matrix products in int8, ranges of activations measured on training data.

Static quantisation in ONNX Runtime's QDQ form: weights symmetric, a scale for each output channel, seven bits
(on CPUs without VNNI the instruction that adds two products saturates at 16 bits; with seven it cannot);
activations uint8.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

from medzoo.export.half import nodes_in_half
from medzoo.types import Array


def integer_bytes(raw: bytes, calibration: Sequence[Mapping[str, Array]]) -> bytes:
    """A float32 model's bytes as those of its int8 version; `calibration`: inputs of the graph from training data."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory(prefix="medzoo-") as name, _quiet():
        folder = Path(name)
        folded, whole = folder / "folded.onnx", folder / "int8.onnx"
        _fold(raw, folded)
        chosen = _integer_nodes(onnx.load(folded).graph)
        quantize_static(
            folded,
            whole,
            _Reader(calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv", "Gemm", "MatMul", "Relu", "Clip", "Add", "MaxPool", "Concat"],
            nodes_to_exclude=[node.name for node in onnx.load(folded).graph.node if node.name not in chosen],
            calibrate_method=CalibrationMethod.MinMax,
        )
        quantised = onnx.load(whole)
    given = onnx.load_from_string(raw)
    del quantised.metadata_props[:]
    quantised.metadata_props.extend(given.metadata_props)
    quantised.producer_name, quantised.producer_version = given.producer_name, given.producer_version
    onnx.checker.check_model(quantised)
    return bytes(quantised.SerializeToString())


def _fold(raw: bytes, path: Path) -> None:
    """The same graph with constants and normalisations folded into the weights before them."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    ort.InferenceSession(raw, options, providers=["CPUExecutionProvider"])


def _integer_nodes(graph: onnx.GraphProto) -> set[str]:
    """Names of the nodes that compute in whole numbers: all with weights and between them, but for the first ones,
    which see the image itself, and the last ones, whose outputs are scores and corners."""
    fewer = nodes_in_half(graph)
    made = {name for node in graph.node if node.name in fewer for name in node.output}
    taken = {name for node in graph.node if node.name in fewer for name in node.input}
    return {
        node.name
        for node in graph.node
        if node.name in fewer and made.intersection(node.input) and taken.intersection(node.output)
    }


class _Reader:
    """The calibration data reader that ONNX Runtime's quantizer takes."""

    def __init__(self, inputs: Sequence[Mapping[str, Array]]) -> None:
        self._rest: Iterator[Mapping[str, Array]] = iter(inputs)

    def get_next(self) -> dict[str, Any] | None:
        """The next inputs, None at the end."""
        found = next(self._rest, None)
        return None if found is None else dict(found)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
