"""Weights in half the bytes: float16 in the file, float32 in every computation; medzoo.nn.weights rounds them."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from medzoo.types import Array

_STORED = "/stored"


def pack_half_weights(raw: bytes) -> bytes:
    """A rounded net's ONNX file with its weights in float16, each followed by a cast that a session folds away."""
    model = onnx.load_from_string(raw)
    kept, casts = [], []
    for value in model.graph.initializer:
        array = numpy_helper.to_array(value)
        if value.data_type == TensorProto.FLOAT and array.ndim > 1 and _exact(array):
            stored = value.name + _STORED
            kept.append(numpy_helper.from_array(array.astype(np.float16), stored))
            casts.append(helper.make_node("Cast", [stored], [value.name], name=stored, to=TensorProto.FLOAT))
        else:
            kept.append(value)
    return _with(model, kept, [*casts, *model.graph.node])


def unpack_half_weights(raw: bytes) -> bytes:
    """The file that `pack_half_weights` was given; any other file as it is."""
    model = onnx.load_from_string(raw)
    stored = {value.name: value for value in model.graph.initializer if value.name.endswith(_STORED)}
    if not stored:
        return raw
    others = [value for value in model.graph.initializer if value.name not in stored]
    whole = [
        numpy_helper.from_array(numpy_helper.to_array(value).astype(np.float32), name.removesuffix(_STORED))
        for name, value in stored.items()
    ]
    return _with(model, [*others, *whole], [node for node in model.graph.node if node.name not in stored])


def _with(model: onnx.ModelProto, values: list[onnx.TensorProto], nodes: list[onnx.NodeProto]) -> bytes:
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(values)
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _exact(array: Array) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.array_equal(array.astype(np.float16).astype(np.float32), array))
