"""An ONNX file that keeps weights in another file is refused, however deep in the graph they hide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from medzoo.errors import UserError
from medzoo.runtime.external_data import refuse_external_data
from medzoo.runtime.onnx_backend import OnnxBackend

ROOT = Path(__file__).resolve().parents[3]


def outside(location: str) -> onnx.TensorProto:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "weights")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("offset", "0"), ("location", location)):
        tensor.external_data.add(key=key, value=value)
    return tensor


def graph(*, where: str, location: str) -> onnx.ModelProto:
    """A graph with an external tensor as an initializer, a constant, or a constant inside a branch."""
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    if where == "initializer":
        nodes, tensors = [helper.make_node("Identity", ["weights"], ["y"])], [outside(location)]
    else:
        constant = helper.make_node("Constant", [], ["y"], value=outside(location))
        nodes, tensors = [constant], []
        if where == "branch":
            flag = numpy_helper.from_array(np.array(True), "flag")
            branch = helper.make_graph([constant], "branch", [], [result])
            nodes, tensors = [helper.make_node("If", ["flag"], ["y"], then_branch=branch, else_branch=branch)], [flag]
    return helper.make_model(helper.make_graph(nodes, "g", [], [result], tensors))


@pytest.mark.parametrize("where", ["initializer", "constant", "branch"])
@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "weights.bin"])
def test_weights_in_another_file_are_refused_by_its_name(tmp_path: Path, where: str, location: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(graph(where=where, location=location).SerializeToString())
    with pytest.raises(UserError, match="keeps weights outside the file") as caught:
        OnnxBackend(path, device="cpu")
    assert repr(location) in str(caught.value)


def test_a_file_that_only_speaks_of_a_location_is_read(tmp_path: Path) -> None:
    model = graph(where="initializer", location="x")
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros(4, np.float32), "weights"))
    model.doc_string = "location"
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    refuse_external_data(path)


def test_bytes_that_are_no_protobuf_end_the_walk(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"location" + bytes(range(256)) * 20)
    refuse_external_data(path)
    with pytest.raises(UserError, match="is not an ONNX model"):
        OnnxBackend(path, device="cpu")
