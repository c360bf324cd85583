"""Graphs whose run never ends, always or for some images, made without torch in milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from medzoo.runtime.metadata import KEY, Metadata

FOREVER = 2**62
KINDS = ("loop", "loop in a branch", "loop in a loop", "while")


def write_endless(path: Path, kind: str = "loop") -> Path:
    """Classify: returns (0.5, 0.5) for a black image, and never for an image with any light in it."""
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["light"], keepdims=0),
        helper.make_node("Greater", ["light", "zero"], ["lit"]),
        helper.make_node("Cast", ["lit"], ["one"], to=TensorProto.INT64),
        helper.make_node("Mul", ["one", "forever"], ["rounds"]),
        _endless(kind),
        helper.make_node("ReduceMean", ["done", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    constants = {
        "zero": np.float32(0),
        "forever": np.array(FOREVER),
        "true": np.array(True),
        "once": np.array(1),
        "axes": np.array([2, 3]),
        "weights": np.zeros((1, 2), np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "endless",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, "height", "width"])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    metadata = Metadata(name="endless", task="classify", labels=("benign", "malignant"), outputs=("probabilities",))
    model.metadata_props.add(key=KEY, value=metadata.model_dump_json())
    path.write_bytes(model.SerializeToString())
    return path


def _endless(kind: str) -> onnx.NodeProto:
    """A node that makes "done" of "image" in as many rounds as "rounds" says."""
    if kind == "loop in a branch":
        inner = helper.make_node("Loop", ["rounds", "true", "image"], ["kept"], body=_body())
        same = helper.make_node("Identity", ["image"], ["kept"])
        branches = {"then_branch": _graph([inner], "kept"), "else_branch": _graph([same], "kept")}
        return helper.make_node("If", ["lit"], ["done"], **branches)
    if kind == "loop in a loop":
        inner = helper.make_node("Loop", ["rounds", "true", "carried"], ["again"], body=_body("inner-"))
        return helper.make_node("Loop", ["once", "true", "image"], ["done"], body=_body(nodes=[inner]))
    if kind == "while":
        return helper.make_node("Loop", ["", "lit", "image"], ["done"], body=_body())
    return helper.make_node("Loop", ["rounds", "true", "image"], ["done"], body=_body())


def _graph(nodes: list[Any], output: str) -> onnx.GraphProto:
    result = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", 1, "height", "width"])
    return helper.make_graph(nodes, "branch", [], [result])


def _body(prefix: str = "", nodes: list[Any] | None = None) -> onnx.GraphProto:
    """Of a Loop: hands on the condition and what is carried."""
    size = ["batch", 1, "height", "width"]
    value, flag = helper.make_tensor_value_info, TensorProto.BOOL
    names = {name: f"{prefix}{name}" for name in ("round", "on", "carried", "on-still", "again")}
    work = nodes or [helper.make_node("Identity", [names["carried"]], [names["again"]])]
    return helper.make_graph(
        [helper.make_node("Identity", [names["on"]], [names["on-still"]]), *work],
        f"{prefix}body",
        [
            value(names["round"], TensorProto.INT64, []),
            value(names["on"], flag, []),
            value(names["carried"], TensorProto.FLOAT, size),
        ],
        [value(names["on-still"], flag, []), value(names["again"], TensorProto.FLOAT, size)],
    )
