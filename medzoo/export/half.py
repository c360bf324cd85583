"""Half precision: weights and the arithmetic between them in float16, inputs and outputs in float32.

Only what is safe in half precision is changed: convolutions, matrix products and what lies directly behind
them. Preprocessing (squares of stored values overflow 65504), boxes (from 2048 pixels on, float16 has no odd
numbers) and probabilities stay in float32. ONNX Runtime's own converter rounds the graph's inputs to float16
before the nodes that it is told to leave alone, which loses the digits of 16-bit images.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# Elementwise, or a choice among their inputs.
_BEHIND = frozenset({"Relu", "Clip", "LeakyRelu", "Add", "Mul", "Concat", "MaxPool", "BatchNormalization", "Pad"})
_HALF = "/half"


def half_bytes(raw: bytes) -> bytes:
    """A float32 model's bytes (no functions, no subgraphs) as those of its half-precision version."""
    model = onnx.load_from_string(raw)
    graph = model.graph
    chosen = nodes_in_half(graph)
    weights = {value.name: value for value in graph.initializer}
    singles = {name for name, value in weights.items() if value.data_type == TensorProto.FLOAT}
    wanted = {name for node in graph.node if node.name not in chosen for name in node.input}
    wanted |= {value.name for value in graph.output}
    ready: set[str] = set()  # tensors that exist in half precision by now
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.name not in chosen:
            nodes.append(node)
            continue
        for index, name in enumerate(node.input):
            if not name or (name in weights and name not in singles):
                continue
            if name not in ready:
                ready.add(name)
                if name in weights:
                    array = numpy_helper.to_array(weights[name]).astype(np.float16)
                    graph.initializer.append(numpy_helper.from_array(array, name + _HALF))
                else:
                    nodes.append(helper.make_node("Cast", [name], [name + _HALF], to=TensorProto.FLOAT16))
            node.input[index] = name + _HALF
        nodes.append(node)
        for index, name in enumerate(node.output):
            ready.add(name)
            node.output[index] = name + _HALF
            if name in wanted:
                nodes.append(helper.make_node("Cast", [name + _HALF], [name], to=TensorProto.FLOAT))
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [value for value in graph.initializer if value.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def nodes_in_half(graph: onnx.GraphProto) -> set[str]:
    """Names of the nodes that may compute in fewer bits: those with weights, and what stands directly behind them."""
    constants = {value.name for value in graph.initializer}
    fewer: set[str] = set()
    names: set[str] = set()
    for node in graph.node:
        values = [name for name in node.input if name and name not in constants]
        if node.op_type in WEIGHTED or (node.op_type in _BEHIND and values and fewer.issuperset(values)):
            names.add(node.name)
            fewer.update(node.output)
    return names
