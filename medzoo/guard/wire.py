"""ONNX files read and changed as the protobuf messages that they are, without the onnx package.

A site that recalibrates a model has ONNX Runtime alone. Messages are cut into their fields
(https://protobuf.dev/programming-guides/encoding), some are replaced or added, and all others are copied byte by byte.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medzoo.types import Array

# Field numbers of onnx.proto.
MODEL_GRAPH, MODEL_OPSET, MODEL_METADATA = 7, 8, 14
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT = 1, 5, 11, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_OP, _NODE_ATTRIBUTE, _NODE_DOMAIN = 1, 2, 3, 4, 5, 7
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_RAW = 1, 2, 8, 9
_FLOAT, _INT64 = 1, 7
_ATTRIBUTE_FLOAT, _ATTRIBUTE_INT, _ATTRIBUTE_STRING, _ATTRIBUTE_INTS = 1, 2, 3, 7
Field = tuple[int, int, bytes]
"""Number, wire type and content of a field; of a number (wire types 0, 1, 5) its encoded bytes."""


@dataclass(frozen=True)
class Node:
    """A node of a graph: operator, names of inputs and outputs, attributes (int, float, str, list of int)."""

    op: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: Mapping[str, Any] = field(default_factory=dict)


def fields(raw: bytes | memoryview) -> Iterator[Field]:
    """The fields of a message in their order. Raises ValueError for bytes that are none."""
    view, at = memoryview(raw), 0
    while at < len(view):
        tag, at = _read_varint(view, at)
        wire = tag & 7
        start = at
        if wire == 0:
            _, at = _read_varint(view, at)
        elif wire == 2:
            length, start = _read_varint(view, at)
            at = start + length
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at > len(view):
            raise ValueError("a field ends outside its message")
        yield tag >> 3, wire, bytes(view[start:at])


def message(found: Iterable[Field]) -> bytes:
    """The bytes of a message of these fields."""
    parts = []
    for number, wire, content in found:
        parts.append(_varint(number << 3 | wire))
        if wire == 2:
            parts.append(_varint(len(content)))
        parts.append(content)
    return b"".join(parts)


def read_nodes(graph: Sequence[Field]) -> list[Node]:
    """Nodes of a graph, without their attributes."""
    found = []
    for number, _, raw in graph:
        if number == GRAPH_NODE:
            parts = list(fields(raw))
            (op,) = (content.decode() for n, _, content in parts if n == _NODE_OP)
            inputs = [content.decode() for n, _, content in parts if n == _NODE_INPUT]
            found.append(Node(op, inputs, [content.decode() for n, _, content in parts if n == _NODE_OUTPUT]))
    return found


def name_of(raw: bytes, number: int) -> str:
    """The text in a field of a message; empty where it has none."""
    return next((content.decode() for n, _, content in fields(raw) if n == number), "")


def opset(model: Sequence[Field]) -> int:
    """Version of the standard operators."""
    for number, _, raw in model:
        if number == MODEL_OPSET and name_of(raw, 1) in ("", "ai.onnx"):
            return next((_read_varint(memoryview(content), 0)[0] for n, _, content in fields(raw) if n == 2), 0)
    return 0


def node_field(node: Node) -> Field:
    """A node as a field of its graph."""
    parts: list[Field] = [(_NODE_INPUT, 2, name.encode()) for name in node.inputs]
    parts += [(_NODE_OUTPUT, 2, name.encode()) for name in node.outputs]
    parts += [(_NODE_NAME, 2, f"node_{node.outputs[0]}".encode()), (_NODE_OP, 2, node.op.encode())]
    parts += [(_NODE_ATTRIBUTE, 2, _attribute(name, value)) for name, value in node.attributes.items()]
    return GRAPH_NODE, 2, message(parts)


def tensor_field(name: str, array: Array) -> Field:
    """An initializer, float32 or int64, as a field of its graph."""
    kind = {"float32": _FLOAT, "int64": _INT64}[array.dtype.name]
    parts: list[Field] = [(_TENSOR_DIMS, 0, _varint(n)) for n in array.shape]
    parts += [(_TENSOR_TYPE, 0, _varint(kind)), (_TENSOR_NAME, 2, name.encode())]
    return GRAPH_INITIALIZER, 2, message([*parts, (_TENSOR_RAW, 2, np.ascontiguousarray(array).tobytes())])


def output_field(name: str, *, axes: Sequence[int | str] | None = None, kind: int = _FLOAT) -> Field:
    """A graph's output as a field; `axes`: lengths, and names of free ones. None: any shape."""
    tensor: list[Field] = [(1, 0, _varint(kind))]
    if axes is not None:
        dims = [(1, 0, _varint(axis)) if isinstance(axis, int) else (2, 2, axis.encode()) for axis in axes]
        tensor.append((2, 2, message([(1, 2, message([dim])) for dim in dims])))
    typed = message([(1, 2, message(tensor))])
    return GRAPH_OUTPUT, 2, message([(1, 2, name.encode()), (2, 2, typed)])


def read_property(raw: bytes, key: str) -> str:
    """A metadata property of an ONNX file; empty where it has none."""
    for number, _, content in fields(raw):
        if number == MODEL_METADATA and name_of(content, 1) == key:
            return name_of(content, 2)
    return ""


def with_property(raw: bytes, key: str, value: str) -> bytes:
    """The ONNX file with one metadata property set."""
    kept = [one for one in fields(raw) if one[0] != MODEL_METADATA or name_of(one[2], 1) != key]
    entry = message([(1, 2, key.encode()), (2, 2, value.encode())])
    return message([*kept, (MODEL_METADATA, 2, entry)])


def with_tensor(raw: bytes, name: str, array: Array) -> bytes:
    """The ONNX file with the values of one initializer replaced. Raises KeyError where it has none of that name."""
    model = list(fields(raw))
    where = next(place for place, one in enumerate(model) if one[0] == MODEL_GRAPH)
    graph = list(fields(model[where][2]))
    for place, (number, _, content) in enumerate(graph):
        if number == GRAPH_INITIALIZER and name_of(content, _TENSOR_NAME) == name:
            graph[place] = tensor_field(name, array)
            model[where] = (MODEL_GRAPH, 2, message(graph))
            return message(model)
    raise KeyError(name)


def read_tensor(raw: bytes, name: str) -> Array | None:
    """The values of a float32 initializer that is stored as raw bytes; None where there is none of that name."""
    for number, _, graph in fields(raw):
        if number != MODEL_GRAPH:
            continue
        for inner, _, content in fields(graph):
            if inner == GRAPH_INITIALIZER and name_of(content, _TENSOR_NAME) == name:
                parts = list(fields(content))
                kinds = [_read_varint(memoryview(c), 0)[0] for n, _, c in parts if n == _TENSOR_TYPE]
                held = [c for n, _, c in parts if n == _TENSOR_RAW]
                shape = [_read_varint(memoryview(c), 0)[0] for n, wire, c in parts if n == _TENSOR_DIMS and wire == 0]
                if kinds == [_FLOAT] and held:
                    values: Array = np.frombuffer(held[0], "<f4").astype(np.float32)
                    return values.reshape(shape) if int(np.prod(shape)) == values.size else values
    return None


def _attribute(name: str, value: int | float | str | list[int]) -> bytes:
    # The last field is the type of the attribute (AttributeProto.AttributeType).
    parts: list[Field] = [(1, 2, name.encode())]
    if isinstance(value, str):
        parts += [(4, 2, value.encode()), (20, 0, _varint(_ATTRIBUTE_STRING))]
    elif isinstance(value, list):
        parts += [*((8, 0, _varint(one)) for one in value), (20, 0, _varint(_ATTRIBUTE_INTS))]
    elif isinstance(value, float):
        parts += [(2, 5, struct.pack("<f", value)), (20, 0, _varint(_ATTRIBUTE_FLOAT))]
    else:
        parts += [(3, 0, _varint(value)), (20, 0, _varint(_ATTRIBUTE_INT))]
    return message(parts)


def _read_varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(view) or shift > 63:
            raise ValueError("a number ends outside its message")
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def with_renamed(graph: Sequence[Field], name: str, other: str) -> list[Field]:
    """A graph's fields with one value renamed wherever nodes make or take it."""

    def renamed(one: Field) -> Field:
        if one[0] != GRAPH_NODE:
            return one
        parts = [
            (
                number,
                wire,
                other.encode() if number in (_NODE_INPUT, _NODE_OUTPUT) and content == name.encode() else content,
            )
            for number, wire, content in fields(one[2])
        ]
        return one[0], one[1], message(parts)

    return [renamed(one) for one in graph]
