"""A classifier's ONNX file with probabilities at a local temperature; the network and its weights stay as they are."""

from __future__ import annotations

import numpy as np

from medzoo.guard.wire import (
    MODEL_GRAPH,
    Node,
    fields,
    message,
    node_field,
    read_nodes,
    read_tensor,
    tensor_field,
    with_renamed,
    with_tensor,
)

_OUTPUT, _PARENT = "probabilities", "probabilities_parent"
_INVERSE, _LEAST = "local_inverse_temperature", "local_least"


def with_temperature(raw: bytes, temperature: float) -> bytes:
    """The file whose `probabilities` are softmax(log p / T) of what they were; once more, the temperatures multiply."""
    before = read_tensor(raw, _INVERSE)
    if before is not None:
        return with_tensor(raw, _INVERSE, np.asarray(before / temperature, np.float32))
    model = list(fields(raw))
    place = next(n for n, one in enumerate(model) if one[0] == MODEL_GRAPH)
    graph = with_renamed(list(fields(model[place][2])), _OUTPUT, _PARENT)
    assert any(_PARENT in node.outputs for node in read_nodes(graph))
    nodes = [
        Node("Max", [_PARENT, _LEAST], ["local_positive"]),
        Node("Log", ["local_positive"], ["local_log"]),
        Node("Mul", ["local_log", _INVERSE], ["local_logits"]),
        Node("Softmax", ["local_logits"], [_OUTPUT], {"axis": 1}),
    ]
    tensors = [
        tensor_field(_INVERSE, np.array(1 / temperature, np.float32)),
        tensor_field(_LEAST, np.array(1e-12, np.float32)),
    ]
    model[place] = (MODEL_GRAPH, 2, message([*graph, *tensors, *map(node_field, nodes)]))
    return message(model)
