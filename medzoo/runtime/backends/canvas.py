"""The canvas size into which a graph fits pictures, read from the ONNX file (no other file stores it)."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

KEY = "medzoo_canvas"
"""Key of a served model's configuration that holds the canvas as "height,width"."""
Canvas = tuple[int, int]
"""Height and width in pixels; a picture is shrunk or enlarged until it fits, its aspect kept (medzoo.nn.canvas)."""
# Field numbers of onnx.proto.
_GRAPH = 7
_NODE, _INITIALIZER = 1, 5
_NODE_INPUT, _NODE_OUTPUT, _NODE_OP = 1, 2, 4
_TENSOR_NAME, _TENSOR_RAW = 8, 9
_SIZES = 3  # which input of Resize holds the sizes


def read_canvas(source: Path | bytes) -> Canvas | None:
    """Read the canvas of an ONNX file that `check_onnx` has accepted; None if its graph has none.

    It is the constant in Resize(image, sizes=Min(..., canvas)), as medzoo exports it.
    """
    if isinstance(source, bytes):
        return _canvas_in(memoryview(source))
    with (
        source.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw,
        memoryview(raw) as view,
    ):
        return _canvas_in(view)


def _canvas_in(view: memoryview) -> Canvas | None:
    sizes: set[str] = set()
    smallest: dict[str, list[str]] = {}
    tensors: list[tuple[int, int]] = []
    for number, start, end in _fields(view, 0, len(view)):
        if number != _GRAPH:
            continue
        for inner, first, last in _fields(view, start, end):
            if inner == _NODE:
                kind, inputs, outputs = _node(view, first, last)
                if kind == "Resize" and len(inputs) > _SIZES:
                    sizes.add(inputs[_SIZES])
                elif kind == "Min" and outputs:
                    smallest[outputs[0]] = inputs
            elif inner == _INITIALIZER and last - first < 256:  # a canvas is two numbers and a name
                tensors.append((first, last))
    named = dict(filter(None, (_pair(view, *place) for place in tensors)))
    found = {named[one] for output in sizes & smallest.keys() for one in smallest[output] if one in named}
    return found.pop() if len(found) == 1 else None


def _node(view: memoryview, start: int, end: int) -> tuple[str, list[str], list[str]]:
    kind = ""
    inputs: list[str] = []
    outputs: list[str] = []
    for number, first, last in _fields(view, start, end):
        if number in (_NODE_INPUT, _NODE_OUTPUT, _NODE_OP):
            text = bytes(view[first:last]).decode(errors="replace")
            if number == _NODE_OP:
                kind = text
            else:
                (inputs if number == _NODE_INPUT else outputs).append(text)
    return kind, inputs, outputs


def _pair(view: memoryview, start: int, end: int) -> tuple[str, Canvas] | None:
    """Return name and values of a tensor of two int64; None for any other."""
    name, values = "", None
    for number, first, last in _fields(view, start, end):
        if number == _TENSOR_NAME:
            name = bytes(view[first:last]).decode(errors="replace")
        elif number == _TENSOR_RAW and last - first == 16:
            values = np.frombuffer(view[first:last], "<i8")
    if values is None or (values < 1).any():
        return None
    return name, (int(values[0]), int(values[1]))


def _fields(view: memoryview, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of the length-delimited fields of a message."""
    while at < end:
        tag, at = _varint(view, at)
        wire = tag & 7
        if wire == 0:
            _, at = _varint(view, at)
        elif wire == 2:
            length, at = _varint(view, at)
            yield tag >> 3, at, at + length
            at += length
        else:
            at += 8 if wire == 1 else 4


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def downscale_factor(size: tuple[int, ...], canvas: Canvas) -> float:
    """Return the factor by which a picture (H, W) shrinks to fit the canvas; at least 1."""
    return max(1.0, *(length / limit for length, limit in zip(size, canvas, strict=True)))


def to_property(canvas: Canvas) -> str:
    """Format the canvas for a served model's configuration."""
    return f"{canvas[0]},{canvas[1]}"


def from_properties(properties: Mapping[str, str]) -> Canvas | None:
    """Parse the canvas from a served model's properties; None if there is none."""
    match = re.fullmatch(r"([1-9]\d{0,5}),([1-9]\d{0,5})", properties.get(KEY, ""))
    return None if match is None else (int(match[1]), int(match[2]))
