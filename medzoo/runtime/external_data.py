"""Refuses ONNX files that keep tensors in other files: a model is one file, whose digest vouches for all of it.

ONNX Runtime opens whatever path such a tensor names, so a graph could read any file of the machine. The names are
found by walking the protobuf wire format (https://protobuf.dev/programming-guides/encoding), no package needed.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from medzoo.errors import UserError

# Where tensors hide, by message: field number -> what lies there (onnx.proto3).
_NESTED: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}


def refuse_external_data(path: Path) -> None:
    """Raises UserError naming the file that a tensor of the ONNX file at `path` points to."""
    if not path.is_file() or not path.stat().st_size:
        return  # ONNX Runtime says what is wrong
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
        if raw.find(b"location") < 0:  # the key under which every external tensor names its file
            return
        with memoryview(raw) as view:
            named = next(_locations(view, "model"), None)
    if named is not None:
        raise UserError(
            f"keeps weights outside the file, in {named!r}; that is refused",
            where=str(path),
            hint="export it as one file: medzoo export",
        )


def _locations(view: memoryview, kind: str) -> Iterator[str]:
    """The files that the tensors below a message name."""
    for number, part in _fields(view):
        inside = _NESTED[kind].get(number)
        with part:
            if inside == "entry":
                pair = {n: bytes(value) for n, value in _fields(part)}
                if pair.get(1) == b"location":
                    yield pair.get(2, b"").decode(errors="replace")
            elif inside is not None:
                yield from _locations(part, inside)


def _fields(view: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of the length-delimited fields of a message. A message cut short ends where it ends."""
    at, end = 0, len(view)
    while at < end:
        key, at = _varint(view, at)
        number, wire = key >> 3, key & 7
        if wire == 2:
            length, at = _varint(view, at)
            yield number, view[at : at + length]
            at += length
        elif wire == 0:
            _, at = _varint(view, at)
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            return  # no protobuf; ONNX Runtime says so


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(view):
        byte = view[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80 or shift > 63:
            break
    return value, at
