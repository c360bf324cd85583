"""Tiny graphs of each task with exactly known outputs, made without torch in milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from medzoo.runtime.metadata import KEY, Geometry, Metadata

LABELS = {"segment": ("background", "bright"), "classify": ("benign", "malignant"), "detect": ("lesion",)}
IMAGE = ["batch", 1, "height", "width"]


def write_graph(path: Path, task: Any, *, host: tuple[dict[str, Any], ...] = ()) -> Path:
    """segment: 1 where the pixel is above 100. classify: softmax of (0, mean / 255). detect: one box (1, 2, 9, 8)."""
    nodes, outputs, constants = {"segment": _segment, "classify": _classify, "detect": _detect}[task]()
    graph = helper.make_graph(
        nodes,
        task,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, IMAGE)],
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    metadata = Metadata(
        name=f"toy-{task}",
        task=task,
        labels=LABELS[task],
        outputs=tuple(name for name, _, _ in outputs),
        host=host,
        geometry=Geometry(margin=0) if task == "segment" else Geometry(),
    )
    model.metadata_props.add(key=KEY, value=metadata.model_dump_json())
    path.write_bytes(model.SerializeToString())
    return path


def _segment() -> Any:
    nodes = [
        helper.make_node("Greater", ["image", "limit"], ["above"]),
        helper.make_node("Cast", ["above"], ["bytes"], to=TensorProto.UINT8),
        helper.make_node("Squeeze", ["bytes", "axis"], ["labels"]),
        helper.make_node("Cast", ["above"], ["bright"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["one", "bright"], ["dark"]),
        helper.make_node("Concat", ["dark", "bright"], ["probabilities"], axis=1),
    ]
    outputs = [
        ("labels", TensorProto.UINT8, ["batch", "height", "width"]),
        ("probabilities", TensorProto.FLOAT, ["batch", 2, "height", "width"]),
    ]
    return nodes, outputs, {"limit": np.float32(100), "one": np.float32(1), "axis": np.array([1])}


def _classify() -> Any:
    nodes = [
        helper.make_node("ReduceMean", ["image", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    constants = {"axes": np.array([2, 3]), "weights": np.array([[0, 1 / 255]], np.float32)}
    return nodes, [("probabilities", TensorProto.FLOAT, ["batch", 2])], constants


def _detect() -> Any:
    nodes = [
        helper.make_node("Shape", ["image"], ["size"], start=0, end=1),
        helper.make_node("Concat", ["size", "box_shape"], ["boxes_size"], axis=0),
        helper.make_node("Expand", ["box", "boxes_size"], ["boxes"]),
        helper.make_node("Concat", ["size", "single"], ["list_size"], axis=0),
        helper.make_node("Expand", ["score", "list_size"], ["scores"]),
        helper.make_node("Expand", ["class", "list_size"], ["labels"]),
        helper.make_node("Expand", ["single", "size"], ["count"]),
    ]
    outputs = [
        ("boxes", TensorProto.FLOAT, ["batch", 1, 4]),
        ("scores", TensorProto.FLOAT, ["batch", 1]),
        ("labels", TensorProto.INT64, ["batch", 1]),
        ("count", TensorProto.INT64, ["batch"]),
    ]
    constants = {
        "box_shape": np.array([1, 4]),
        "single": np.array([1]),
        "box": np.array([[[1, 2, 9, 8]]], np.float32),
        "score": np.array([[0.75]], np.float32),
        "class": np.array([[0]]),
    }
    return nodes, outputs, constants
