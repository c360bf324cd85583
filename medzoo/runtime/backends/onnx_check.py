"""Validation of ONNX files: rejects those that load data or code from outside the file.

ONNX Runtime opens whatever path a tensor names as the place of its data, so a graph could read any file of the
machine. The check walks the bytes as protobuf's readers do (https://protobuf.dev/programming-guides/encoding) and fails
closed: a field that is not in the schema (onnx_schema.py), or that two readers could take for different things, is
refused.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path

from medzoo.errors import UserError
from medzoo.runtime.backends.onnx_schema import BYTES, FIXED64, MESSAGES, OPAQUE, VARINT

_DEEPEST = 100  # messages within one another, as protobuf's own readers allow
_OUTSIDE = "export it as one file: medzoo export"
_AGAIN = "export the model again with medzoo"
STANDARD = frozenset({"", "ai.onnx", "ai.onnx.ml"})
RUNTIME = "com.microsoft"
"""The domain of ONNX Runtime's own operators, such as those of quantised graphs."""
# Those among them that take a compiled model or a program from elsewhere.
_REACHING = frozenset({"EPContext", "PythonOp", "PythonOpGrad", "Snpe", "TorchScript", "TRT_FMHA"})
# Texts are no pixels, and take their memory where no limit is (medzoo.runtime.backends.memory_limit).
_GROWING = frozenset({"StringConcat"})
# Metadata that ONNX Runtime takes settings of the session from ("ort_config"), or that say which provider compiled it.
_SETTINGS = ("ort_", "ep_")


class NotOnnxError(ValueError):
    """The bytes are not an ONNX model."""


def check_onnx(source: Path | bytes, *, where: str) -> None:
    """Validate an ONNX file without loading its tensors.

    Raises UserError that names the external data, operator or field, and NotOnnxError for other files.
    """
    if isinstance(source, bytes):
        _check(memoryview(source), where)
        return
    if not source.is_file() or not source.stat().st_size:
        return  # ONNX Runtime says what is wrong
    with (
        source.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw,
        memoryview(raw) as view,
    ):
        _check(view, where)


def _check(view: memoryview, where: str) -> None:
    walk = _Walk(view, where)
    walk.message("ModelProto", 0, len(view), 0)
    walk.check_operators()


class _Walk:
    """A single pass over the bytes of a file, which reads field offsets and names but no tensor data."""

    def __init__(self, view: memoryview, where: str) -> None:
        self.view, self.where = view, where
        self.calls: set[tuple[str, str]] = set()
        self.functions: set[tuple[str, str]] = set()
        self.keys: set[str] = set()
        self.outside: dict[str, str] = {}

    def refuse(self, message: str, hint: str = _AGAIN) -> UserError:
        return UserError(f"unsafe or invalid ONNX file: {message}", where=self.where, hint=hint)

    # The names of fields and messages are ONNX's own.
    def message(self, kind: str, at: int, end: int, depth: int) -> Mapping[str, tuple[int, int]]:
        """Walk a message; return the offsets of its non-repeated fields. Raises UserError or NotOnnxError."""
        if depth > _DEEPEST:
            raise self.refuse(f"messages are nested deeper than {_DEEPEST} levels")
        view, fields = self.view, MESSAGES[kind]
        single: dict[str, tuple[int, int]] = {}
        while at < end:
            tag = view[at]
            at += 1
            if tag >= 0x80:
                tag, at = self.varint(at - 1, end)
            field = fields.get(tag)
            if field is None:
                raise self.unknown(tag, kind, first=depth == 0 and not single)
            wire = tag & 7
            if wire == BYTES:
                if at >= end:
                    raise self.broken(at)
                length = view[at]
                at += 1
                if length >= 0x80:
                    length, at = self.varint(at - 1, end)
                start, at = at, at + length
            elif wire == VARINT:
                start = at
                at = self.skip(at, end)
            else:
                start, at = at, at + (8 if wire == FIXED64 else 4)
            if at > end:
                raise self.broken(start)
            if not field.repeated:
                if field.name in single:
                    raise self.refuse(f"the field {field.name} of {kind} occurs twice")
                single[field.name] = start, at
            if field.message and field.message not in OPAQUE:
                inner = self.message(field.message, start, at, depth + 1)
                self.record(kind, field.name, inner)
            elif field.name == "data_location" and bytes(view[start:at]) != b"\0":
                self.outside.setdefault("data_location", "another file")
        if kind == "TensorProto" and self.outside:
            named = self.outside.get("location") or ", ".join(self.outside.values())
            raise self.refuse(f"weights are stored outside the file, in {named!r}", _OUTSIDE)
        if kind == "NodeProto" and self.text(single.get("op_type")) in _GROWING:
            raise self.refuse(f"the operator {self.text(single.get('op_type'))!r} concatenates strings")
        if kind == "NodeProto" and "domain" in single:
            self.calls.add((self.text(single.get("domain")), self.text(single.get("op_type"))))
        return single

    def record(self, kind: str, field: str, inner: Mapping[str, tuple[int, int]]) -> None:
        """Record external data, functions and metadata keys."""
        if kind == "TensorProto" and field == "external_data":
            self.outside[self.text(inner.get("key"))] = self.text(inner.get("value"))
        elif kind == "ModelProto" and field == "functions":
            self.functions.add((self.text(inner.get("domain")), self.text(inner.get("name"))))
        elif kind == "ModelProto" and field == "metadata_props":
            key = self.text(inner.get("key"))
            if key in self.keys:
                raise self.refuse(f"the metadata key {key!r} occurs twice")
            if key.startswith(_SETTINGS):
                raise self.refuse(f"the metadata key {key!r} changes settings of ONNX Runtime")
            self.keys.add(key)

    def check_operators(self) -> None:
        """Raise UserError for an operator that is neither of ONNX, of ONNX Runtime, nor a function of the file."""
        for domain, name in sorted(self.calls - self.functions):
            if domain == RUNTIME and name in _REACHING:
                raise self.refuse(f"the operator {name!r} of {domain!r} loads code from outside the file")
            if domain not in STANDARD and domain != RUNTIME:
                raise self.refuse(f"the operator {name!r} is from an unknown domain {domain!r}")

    def text(self, place: tuple[int, int] | None) -> str:
        return "" if place is None else bytes(self.view[place[0] : place[1]])[:300].decode(errors="replace")

    def unknown(self, tag: int, kind: str, *, first: bool) -> Exception:
        number, wire = tag >> 3, tag & 7
        if first:
            return NotOnnxError(f"it starts with field {number}, which is not in the ONNX schema")
        known = next((field.name for one, field in MESSAGES[kind].items() if one >> 3 == number), None)
        if known is not None:
            return self.refuse(f"the field {known} of {kind} has the wrong wire type {wire}")
        if wire in (3, 4):
            return self.refuse(f"field {number} of {kind} is a group, which ONNX does not use")
        return self.refuse(f"{kind} has an unknown field {number}")

    def broken(self, at: int) -> Exception:
        return NotOnnxError(f"truncated or damaged at byte {at}")

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """Read a tag or a length; return it and its end. Raises UserError for overlong encodings, which readers treat
        differently."""
        value = shift = 0
        for place in range(at, min(at + 5, end)):
            byte = self.view[place]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if byte == 0:
                    raise self.refuse(f"overlong varint at byte {at}")
                return value, place + 1
            shift += 7
        raise NotOnnxError(f"truncated or damaged at byte {at}")

    def skip(self, at: int, end: int) -> int:
        """Return the end of a varint of up to ten bytes."""
        for place in range(at, min(at + 10, end)):
            if self.view[place] < 0x80:
                return place + 1
        raise NotOnnxError(f"truncated or damaged at byte {at}")
