"""An ONNX file that reaches beyond itself, or holds what ONNX does not have, is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from medzoo.errors import UserError
from medzoo.runtime.backends import onnx_schema
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.backends.onnx_check import check_onnx
from tests.unit.serve.graphs import write_graph

ROOT = Path(__file__).resolve().parents[3]
RESULT = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
PLAIN = numpy_helper.from_array(np.zeros(4, np.float32), "weights")


def outside(location: str) -> onnx.TensorProto:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "weights")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("offset", "0"), ("location", location)):
        tensor.external_data.add(key=key, value=value)
    return tensor


def graph(nodes: list[Any], tensors: list[Any] = [], **more: Any) -> onnx.ModelProto:  # noqa: B006
    return helper.make_model(helper.make_graph(nodes, "g", [], [RESULT], tensors), **more)


def branches(nodes: list[Any], tensors: list[Any] = []) -> list[Any]:  # noqa: B006
    """A node whose two branches are these nodes."""
    inner = helper.make_graph(nodes, "branch", [], [RESULT], tensors)
    return [helper.make_node("If", ["flag"], ["y"], then_branch=inner, else_branch=inner)]


def loop(nodes: list[Any]) -> list[Any]:
    value = helper.make_tensor_value_info
    inputs = [value("n", TensorProto.INT64, []), value("c", TensorProto.BOOL, []), value("k", TensorProto.FLOAT, [4])]
    outputs = [value("c", TensorProto.BOOL, []), RESULT]
    return [helper.make_node("Loop", ["n", "flag", "w"], ["y"], body=helper.make_graph(nodes, "b", inputs, outputs))]


def hidden(place: str, tensor: onnx.TensorProto) -> onnx.ModelProto:
    """A model with `tensor` in one of the places where a tensor can be."""
    constant = helper.make_node("Constant", [], ["y"], value=tensor)
    identity = helper.make_node("Identity", ["weights"], ["y"])
    if place == "initializer":
        return graph([identity], [tensor])
    if place == "constant":
        return graph([constant])
    if place == "branch":
        return graph(branches([constant]))
    if place == "branch's initializer":
        return graph(branches([identity], [tensor]))
    if place == "three branches deep":
        return graph(branches(branches(branches([constant]))))
    if place == "loop":
        return graph(loop([constant]))
    if place == "scan":
        body = helper.make_graph([constant], "s", [], [RESULT])
        return graph([helper.make_node("Scan", ["x"], ["y"], body=body, num_scan_inputs=1)])
    if place == "list of tensors":
        node = helper.make_node("Constant", [], ["y"])
        node.attribute.add(name="values", type=onnx.AttributeProto.TENSORS).tensors.append(tensor)
        return graph([node])
    if place == "list of graphs":
        node = helper.make_node("Case", [], ["y"])
        inner = helper.make_graph([constant], "branch", [], [RESULT])
        node.attribute.add(name="branches", type=onnx.AttributeProto.GRAPHS).graphs.append(inner)
        return graph([node])
    if place == "sparse values" or place == "sparse indices":
        model = graph([identity])
        values, indices = (tensor, PLAIN) if place == "sparse values" else (PLAIN, tensor)
        model.graph.sparse_initializer.add(values=values, indices=indices, dims=[4])
        return model
    if place == "sparse attribute":
        node = helper.make_node("Constant", [], ["y"])
        node.attribute.add(name="sparse_value", type=onnx.AttributeProto.SPARSE_TENSOR).sparse_tensor.CopyFrom(
            onnx.SparseTensorProto(values=tensor, indices=PLAIN, dims=[4])
        )
        return graph([node])
    if place == "function":
        function = helper.make_function("own", "F", [], ["y"], [constant], [helper.make_opsetid("", 18)])
        return graph([helper.make_node("F", [], ["y"], domain="own")], functions=[function])
    assert place == "function's default"
    function = helper.make_function("own", "F", [], ["y"], [constant], [helper.make_opsetid("", 18)])
    function.attribute_proto.add(name="d", type=onnx.AttributeProto.TENSOR).t.CopyFrom(tensor)
    return graph([helper.make_node("F", [], ["y"], domain="own")], functions=[function])


PLACES = (
    "initializer",
    "constant",
    "branch",
    "branch's initializer",
    "three branches deep",
    "loop",
    "scan",
    "list of tensors",
    "list of graphs",
    "sparse values",
    "sparse indices",
    "sparse attribute",
    "function",
    "function's default",
)


def refused(raw: bytes) -> str:
    with pytest.raises(UserError, match="unsafe or invalid ONNX file: ") as caught:
        check_onnx(raw, where="model.onnx")
    assert str(caught.value).startswith("model.onnx: ")
    return str(caught.value)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("location", ["../secret.bin", "weights.bin", "*/_ORT_MEM_ADDR_/*"])
def test_weights_in_another_file_are_refused_by_its_name(place: str, location: str) -> None:
    assert f"weights are stored outside the file, in {location!r}" in refused(
        hidden(place, outside(location)).SerializeToString()
    )
    check_onnx(hidden(place, PLAIN).SerializeToString(), where="model.onnx")


def test_the_backend_refuses_before_onnx_runtime_opens_anything(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(hidden("branch", outside("/etc/passwd")).SerializeToString())
    for source in (path, path.read_bytes()):
        with pytest.raises(UserError, match="weights are stored outside the file, in '/etc/passwd'"):
            OnnxBackend(source, device="cpu")


@pytest.mark.parametrize("part", ["location alone", "entries alone", "no location"])
def test_half_of_what_names_another_file_is_enough(part: str) -> None:
    tensor = outside("other.bin")
    if part == "location alone":
        tensor.ClearField("external_data")
    elif part == "entries alone":
        tensor.ClearField("data_location")
    else:
        del tensor.external_data[1]
    assert "weights are stored outside the file" in refused(hidden("constant", tensor).SerializeToString())


def test_a_file_that_only_speaks_of_a_location_is_read() -> None:
    model = hidden("initializer", PLAIN)
    model.doc_string = "location"
    model.graph.node[0].name = "external_data"
    check_onnx(model.SerializeToString(), where="model.onnx")


def field(number: int, wire: int, value: bytes = b"") -> bytes:
    """One field of a message, its tag as short as it can be."""
    return varint(number << 3 | wire) + (varint(len(value)) if wire == 2 else b"") + value


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


MODEL = hidden("initializer", PLAIN).SerializeToString()
GRAPH = hidden("initializer", PLAIN).graph.SerializeToString()
OPENING = field(1, 0, b"\x08")  # ir_version


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (MODEL + field(1000, 2, b"hidden"), "ModelProto has an unknown field 1000"),
        (MODEL + field(1000, 3) + field(1000, 4), "field 1000 of ModelProto"),
        (OPENING + field(7, 3) + field(7, 4), "the field graph of ModelProto has the wrong wire type"),
        (OPENING + field(7, 2, GRAPH) + field(7, 2, GRAPH), "the field graph of ModelProto occurs twice"),
        (OPENING + field(20, 2, b""), "ModelProto has an unknown field 20"),  # training_info
        (OPENING + field(7, 2, field(77, 2, b"x") + GRAPH), "GraphProto has an unknown field 77"),
        (OPENING + field(7, 2, field(5, 2, field(9, 2) + field(9, 2))), "the field raw_data of TensorProto"),
        (OPENING + field(7, 2, field(5, 2, field(9, 0, b"\1"))), "the field raw_data of TensorProto"),
        (OPENING + field(7, 2, field(5, 2, field(3, 2, b""))), "TensorProto has an unknown field 3"),  # segment
        (
            OPENING + field(7, 2, field(1, 2, field(5, 2, field(99, 5, b"1234")))),
            "AttributeProto has an unknown field 99",
        ),
        (OPENING + b"\xba\x00" + varint(len(GRAPH)) + GRAPH, "overlong varint"),  # tag of 7
        (OPENING + b"\x3a\x80\x00", "overlong varint"),  # a length
    ],
)
def test_what_onnx_does_not_have_is_refused_by_its_place(raw: bytes, said: str) -> None:
    assert said in refused(raw)


def test_numbers_are_read_packed_or_one_by_one() -> None:
    packed = field(1, 2, b"\x04") + field(2, 0, b"\x07") + field(7, 2, b"\x01\x02\x03\x04")
    single = field(1, 0, b"\x04") + field(2, 0, b"\x07") + b"".join(field(7, 0, bytes([n])) for n in (1, 2, 3, 4))
    for tensor in (packed, single):
        check_onnx(OPENING + field(7, 2, field(5, 2, tensor)), where="model.onnx")


def test_messages_deeper_than_protobuf_reads_are_refused() -> None:
    inner = b""
    for _ in range(200):
        inner = field(1, 2, field(5, 2, field(6, 2, inner)))  # a node, its attribute, the attribute's graph
    assert "deeper than 100" in refused(OPENING + field(7, 2, inner))


@pytest.mark.parametrize(
    ("domain", "name", "said"),
    [
        ("evil.ops", "ReadFile", "'ReadFile' is from an unknown domain 'evil.ops'"),
        ("org.pytorch.aten", "ATen", "'ATen' is from an unknown domain 'org.pytorch.aten'"),
        ("ai.onnx.contrib", "PyOp", "'PyOp' is from an unknown domain 'ai.onnx.contrib'"),
        ("com.microsoft", "EPContext", "the operator 'EPContext' of 'com.microsoft' loads code"),
        ("com.microsoft", "PythonOp", "the operator 'PythonOp' of 'com.microsoft' loads code"),
    ],
)
@pytest.mark.parametrize("inside", ["graph", "branch", "function"])
def test_operators_of_other_domains_are_refused_by_name(domain: str, name: str, said: str, inside: str) -> None:
    node = helper.make_node(name, [], ["y"], domain=domain)
    model = graph([node])
    if inside == "branch":
        model = graph(branches([node]))
    elif inside == "function":
        function = helper.make_function("own", "F", [], ["y"], [node], [helper.make_opsetid(domain, 1)])
        model = graph([helper.make_node("F", [], ["y"], domain="own")], functions=[function])
    assert said in refused(model.SerializeToString())


def test_operators_of_onnx_of_its_runtime_and_of_the_file_are_taken() -> None:
    for domain in ("", "ai.onnx", "ai.onnx.ml", "com.microsoft"):
        check_onnx(graph([helper.make_node("Gelu", [], ["y"], domain=domain)]).SerializeToString(), where="m")


@pytest.mark.parametrize("key", ["ort_config", "ort_other", "ep_compatibility_info.Some"])
def test_settings_for_onnx_runtime_are_refused(key: str, tmp_path: Path) -> None:
    model = onnx.load(write_graph(tmp_path / "graph.onnx", "classify"))
    model.metadata_props.add(key=key, value="{}")
    assert repr(key) in refused(model.SerializeToString())


def test_metadata_given_twice_is_refused(tmp_path: Path) -> None:
    model = onnx.load(write_graph(tmp_path / "graph.onnx", "classify"))
    model.metadata_props.add(key="medzoo", value="{}")
    assert "the metadata key 'medzoo' occurs twice" in refused(model.SerializeToString())


@pytest.mark.parametrize("kind", ["text", "cut", "noise", "picture"])
def test_bytes_that_are_no_model_say_so(kind: str, tmp_path: Path) -> None:
    whole = write_graph(tmp_path / "graph.onnx", "segment").read_bytes()
    raw = {
        "text": b"location of nothing",
        "cut": whole[: len(whole) // 2],
        "noise": bytes(range(256)) * 20,
        "picture": b"\x89PNG\r\n\x1a\n" + bytes(64),
    }[kind]
    path = tmp_path / "model.onnx"
    path.write_bytes(raw)
    with pytest.raises(UserError, match="cannot load the ONNX model"):
        OnnxBackend(path, device="cpu")


def test_the_released_graphs_are_taken() -> None:
    found = sorted(ROOT.glob("zoo/*/*.onnx"))
    assert found
    for path in found:
        check_onnx(path, where=path.name)


def test_the_fields_are_those_of_onnx() -> None:
    from onnx import onnx_ml_pb2

    left_out = {"training_info", "configuration", "segment", "device_configurations"}
    for name, fields in onnx_schema.MESSAGES.items():
        if name in onnx_schema.OPAQUE:
            continue
        described = onnx_ml_pb2.DESCRIPTOR.message_types_by_name[
            name.replace("TensorAnnotationProto", "TensorAnnotation")
        ]
        theirs = {one.name: one for one in described.fields if one.name not in left_out}
        assert {one.name for one in fields.values()} == set(theirs), name
        for tag, ours in fields.items():
            one = theirs[ours.name]
            assert tag >> 3 == one.number, ours.name
            assert ours.repeated == one.is_repeated, ours.name


@pytest.mark.parametrize("place", ["graph", "branch", "loop"])
def test_texts_that_grow_are_refused(place: str) -> None:
    grow = helper.make_node("StringConcat", ["a", "a"], ["y"])
    nodes = {"graph": [grow], "branch": branches([grow]), "loop": loop([grow])}[place]
    assert "the operator 'StringConcat'" in refused(graph(nodes).SerializeToString())
