"""Small graphs that make huge tensors, at every run or for one image alone, made without torch in milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from medzoo.runtime.metadata import KEY, Metadata

HUGE = 2**42  # values: 16 TB of float32, more than any machine that tests run on
node = helper.make_node


def _doubling() -> Any:
    """The body of a Loop that doubles what it holds."""
    value = helper.make_tensor_value_info
    nodes = [node("Identity", ["on"], ["still"]), node("Concat", ["held", "held"], ["more"], axis=0)]
    inputs = [
        value("i", TensorProto.INT64, []),
        value("on", TensorProto.BOOL, []),
        value("held", TensorProto.FLOAT, ["n"]),
    ]
    outputs = [value("still", TensorProto.BOOL, []), value("more", TensorProto.FLOAT, ["m"])]
    return helper.make_graph(nodes, "doubling", inputs, outputs)


def _collecting() -> Any:
    """The body of a Loop that keeps a tensor of every round."""
    value = helper.make_tensor_value_info
    nodes = [node("Identity", ["on"], ["still"]), node("Expand", ["one", "million"], ["kept"])]
    inputs = [value("i", TensorProto.INT64, []), value("on", TensorProto.BOOL, [])]
    outputs = [value("still", TensorProto.BOOL, []), value("kept", TensorProto.FLOAT, ["n"])]
    return helper.make_graph(nodes, "collecting", inputs, outputs)


def _appending() -> Any:
    """The body of a Loop that appends to a sequence."""
    tensor = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    value, kept = helper.make_tensor_value_info, helper.make_sequence_type_proto(tensor)
    nodes = [
        node("Identity", ["on"], ["still"]),
        node("Expand", ["one", "million"], ["next"]),
        node("SequenceInsert", ["list", "next"], ["longer"]),
    ]
    inputs = [
        value("i", TensorProto.INT64, []),
        value("on", TensorProto.BOOL, []),
        helper.make_value_info("list", kept),
    ]
    return helper.make_graph(
        nodes, "appending", inputs, [value("still", TensorProto.BOOL, []), helper.make_value_info("longer", kept)]
    )


KINDS: dict[str, list[Any]] = {
    "ConstantOfShape": [node("ConstantOfShape", ["huge"], ["big"])],
    "Expand": [node("Expand", ["one", "huge"], ["big"])],
    "Tile": [node("Tile", ["one", "billions"], ["big"])],
    "Range": [node("Range", ["zero", "end", "one-scalar"], ["big"])],
    "Pad": [node("Pad", ["one", "margins"], ["big"])],
    "Resize": [node("Resize", ["one", "", "", "huge"], ["big"], mode="nearest")],
    "OneHot": [node("OneHot", ["first", "huge", "off-on"], ["hot"]), node("Reshape", ["hot", "flat"], ["big"])],
    "outer product": [
        node("Expand", ["one", "millions"], ["row"]),
        node("Unsqueeze", ["row", "first"], ["across"]),
        node("Transpose", ["across"], ["down"], perm=[1, 0]),
        node("MatMul", ["down", "across"], ["big"]),
    ],
    "padded Conv": [node("Conv", ["image", "kernel"], ["big"], pads=[2**20] * 4)],
    "doubling Loop": [node("Loop", ["rounds", "true", "one"], ["big"], body=_doubling())],
    "collecting Loop": [node("Loop", ["many", "true"], ["big"], body=_collecting())],
    "appending Loop": [
        node("SequenceEmpty", [], ["empty"]),
        node("Loop", ["many", "true", "empty"], ["list"], body=_appending()),
        node("ConcatFromSequence", ["list"], ["big"], axis=0),
    ],
}
CONSTANTS = {
    "huge": np.array([HUGE]),
    "billions": np.array([2**29]),
    "millions": np.array([2**22]),
    "million": np.array([2**20]),
    "one": np.ones(1, np.float32),
    "zero": np.float64(0),
    "end": np.float64(HUGE),
    "one-scalar": np.float64(1),
    "first": np.array([0]),
    "flat": np.array([-1]),
    "off-on": np.array([0, 1], np.float32),
    "margins": np.array([0, HUGE]),
    "kernel": np.ones((1, 1, 1, 1), np.float32),
    "rounds": np.array(60),
    "many": np.array(2**40),
    "true": np.array(True),
    "weights": np.zeros((1, 2), np.float32),
    "axes": np.array([2, 3]),
    "two": np.array([1, 1]),
}


def write_bomb(path: Path, kind: str) -> Path:
    """Classify: makes a tensor of terabytes before it returns, whatever the image."""
    nodes = [
        *KINDS[kind],
        node("Cast", ["big"], ["cast"], to=TensorProto.FLOAT),
        node("ReduceMax", ["cast"], ["highest"], keepdims=0),
        node("Mul", ["image", "highest"], ["lit"]),
        node("ReduceMean", ["lit", "axes"], ["mean"], keepdims=0),
        node("MatMul", ["mean", "weights"], ["logits"]),
        node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "bomb",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, "height", "width"])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in CONSTANTS.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    metadata = Metadata(name="bomb", task="classify", labels=("benign", "malignant"), outputs=("probabilities",))
    model.metadata_props.add(key=KEY, value=metadata.model_dump_json())
    path.write_bytes(model.SerializeToString())
    return path
