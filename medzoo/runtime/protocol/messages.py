"""The gRPC service of the Open Inference Protocol: its generated messages (open_inference.proto), and raw tensors.

Protocol buffers copy a bytes field when it is set, when it is written and when it is read, megabytes each time. A
message is a list of numbered fields in any order, so the raw tensors of ModelInfer are written in front of the others
here, and read as views of what came. (Protocol Buffers, "Encoding": records are a tag, a length and that many bytes.)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING

from medzoo.errors import UserError, missing_extra

if TYPE_CHECKING:
    from medzoo.runtime.protocol import open_inference_pb2

SERVICE = "inference.GRPCInferenceService"


@cache
def load_messages() -> ModuleType:
    """Import the module of message classes. Raises UserError if protobuf is missing or older than its code."""
    try:
        from medzoo.runtime.protocol import open_inference_pb2
    except Exception as error:  # ImportError, or protobuf's VersionError
        raise missing_extra("protobuf>=6.31", "serve") from error
    return open_inference_pb2


def parameter(value: open_inference_pb2.InferParameter) -> bool | int | str | float | None:
    """Return the value of an InferParameter; None if it holds none."""
    chosen = value.WhichOneof("parameter_choice")
    result: bool | int | str | float | None = getattr(value, chosen) if chosen else None
    return result


REQUEST, RESPONSE = 7, 6
"""Numbers of raw_input_contents and raw_output_contents."""
_MOST_FIELDS = 4096
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def join(message: bytes, number: int, tensors: Sequence[memoryview | bytes]) -> bytes:
    """Prepend `tensors` to a serialised message as its bytes fields `number`."""
    parts: list[memoryview | bytes] = []
    for tensor in tensors:
        parts += [_varint(number << 3 | _BYTES), _varint(len(tensor)), tensor]
    return b"".join([*parts, message])


def split(message: bytes, number: int, *, most: int | None = None) -> tuple[bytes, list[memoryview]]:
    """Split a serialised message into the rest and views of its bytes fields `number`.

    `most`: largest size of the rest. Raises UserError.
    """
    view = memoryview(message)
    kept: list[memoryview] = []
    tensors: list[memoryview] = []
    at = 0
    while at < len(view):
        if len(kept) + len(tensors) >= _MOST_FIELDS:
            raise UserError("the message has too many fields")
        start = at
        tag, at = _read_varint(view, at)
        kind = tag & 7
        if kind == _BYTES:
            length, at = _read_varint(view, at)
        elif kind == _VARINT:
            _, at = _read_varint(view, at)
            length = 0
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise UserError("malformed protobuf message")
        if at + length > len(view):
            raise UserError("truncated protobuf message")
        if kind == _BYTES and tag >> 3 == number:
            tensors.append(view[at : at + length])
        else:
            kept.append(view[start : at + length])
        at += length
    if most is not None and sum(map(len, kept)) > most:
        raise UserError(
            f"the message has more than {most} bytes besides its raw contents", hint="send tensors as raw contents"
        )
    return b"".join(kept), tensors


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)


def _read_varint(view: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            break
        byte = view[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise UserError("malformed protobuf message")
