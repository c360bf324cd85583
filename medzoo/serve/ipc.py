"""Messages with arrays between processes over a Unix socket, without pickle.

A message is a JSON tree and the bytes of its arrays: behind the tree where they are few, else in a sealed memory file
(memfd_create(2)) whose descriptor travels with it (SCM_RIGHTS), so that arrays are never copied by the receiver. The
receiver trusts nothing in it: lengths are bounded, the memory must be sealed, and the only objects made are dataclasses
of medzoo's rooms that hold data.
"""

from __future__ import annotations

import base64
import fcntl
import json
import math
import mmap
import os
import socket
import struct
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np

from medzoo.types import Array

_ROOMS = ("types", "io", "preprocess", "runtime")
_HEAD = struct.Struct("<II?")  # bytes of JSON, bytes of arrays, whether those lie in a memory file
_MAX_TREE = 64 << 20
_MAX_INLINE = 64 << 10
_PIECE = 128 << 10  # bytes that are received at once
_ALIGN = 64
_HAS_MEMORY_FILES = hasattr(os, "memfd_create") and hasattr(fcntl, "F_ADD_SEALS")
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL if _HAS_MEMORY_FILES else 0


class IpcError(Exception):
    """A message is malformed, or a value cannot be sent."""


def send(connection: socket.socket, value: Any) -> None:
    """Send `value`: numbers, text, bytes, lists, tuples, dicts, arrays, and dataclasses of medzoo, nested in any way.

    Raises IpcError for anything else, and OSError if the other side is gone.
    """
    arrays: list[Array] = []
    places: dict[tuple[int, int], int] = {}
    size = 0

    def add(array: Array) -> int:
        nonlocal size
        # The prepared image is often the source itself: its bytes travel once.
        at = (array.ctypes.data, array.nbytes)
        if (same := places.get(at)) is not None:
            return same
        start = -(-size // _ALIGN) * _ALIGN
        size = start + array.nbytes
        arrays.append(array)
        places[at] = start
        return start

    tree = json.dumps(_encode(value, add), separators=(",", ":")).encode()
    in_memory = _HAS_MEMORY_FILES and size > _MAX_INLINE
    head = _HEAD.pack(len(tree), min(size, 2**32 - 1), in_memory)
    if not in_memory:
        connection.sendall(b"".join([head, tree, *_padded(arrays)]))
        return
    memory = os.memfd_create("medzoo", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        for part in _padded(arrays):
            _write(memory, part)
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS)
        whole = head + tree
        sent = socket.send_fds(connection, [whole], [memory])
        connection.sendall(memoryview(whole)[sent:])
    finally:
        os.close(memory)


def receive(connection: socket.socket) -> Any:
    """Receive a value; None if the other side closed. Raises IpcError and OSError."""
    # A short message comes in one piece. More than a message cannot: each side waits for the other's.
    raw, descriptors, _, _ = socket.recv_fds(connection, _PIECE, 1)
    try:
        if not raw:
            return None
        if len(raw) < _HEAD.size:
            raw += _exactly(connection, _HEAD.size - len(raw))
        length, size, in_memory = _HEAD.unpack_from(raw)
        if length > _MAX_TREE or (not in_memory and _HAS_MEMORY_FILES and size > _MAX_INLINE):
            raise IpcError("a message is too long")
        whole = _HEAD.size + length + (0 if in_memory else size)
        if len(raw) > whole:
            raise IpcError("a message is longer than its header says")
        if len(raw) < whole:
            raw += _exactly(connection, whole - len(raw))
        tree = raw[_HEAD.size : _HEAD.size + length]
        if in_memory:
            if len(descriptors) != 1 or fcntl.fcntl(descriptors[0], fcntl.F_GET_SEALS) & _SEALS != _SEALS:
                raise IpcError("a message's memory is not sealed")
            # Private: the receiver may write into its arrays, and sees its own copy of a page from then on.
            data: Any = mmap.mmap(descriptors[0], 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        else:
            data = bytearray(memoryview(raw)[_HEAD.size + length :])
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    try:
        return _decode(json.loads(tree), memoryview(data))
    except (ValueError, LookupError, TypeError, RecursionError, AttributeError, ImportError) as error:
        raise IpcError("a message cannot be read") from error


def _exactly(connection: socket.socket, size: int) -> bytes:
    parts = bytearray(size)
    view = memoryview(parts)
    while view:
        got = connection.recv_into(view)
        if not got:
            raise IpcError("a message ends early")
        view = view[got:]
    return bytes(parts)


def _padded(arrays: list[Array]) -> list[bytes | memoryview]:
    parts: list[bytes | memoryview] = []
    size = 0
    for array in arrays:
        gap = -size % _ALIGN
        if gap:
            parts.append(bytes(gap))
        if array.nbytes:
            parts.append(array.reshape(-1).view(np.uint8).data)
        size += gap + array.nbytes
    return parts


def _write(descriptor: int, part: bytes | memoryview) -> None:
    view = memoryview(part)
    while view:
        view = view[os.write(descriptor, view[: 1 << 30]) :]


def _encode(value: Any, add: Any) -> Any:
    if value is None or (isinstance(value, bool | int | float | str) and type(value) in (bool, int, float, str)):
        return value
    if isinstance(value, str):  # a subclass, such as pydicom's
        return str(value)
    if isinstance(value, list):
        return [_encode(one, add) for one in value]
    if isinstance(value, tuple):
        return {"tuple": [_encode(one, add) for one in value]}
    if isinstance(value, frozenset):
        return {"set": [_encode(one, add) for one in value]}
    if isinstance(value, Mapping):
        return {"dict": [[_encode(key, add), _encode(one, add)] for key, one in value.items()]}
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, np.ndarray | np.generic):
        return _encode_array(np.asarray(value), add)
    if is_dataclass(value) and _is_ours(type(value), type(value).__module__):
        own = {one.name: _encode(getattr(value, one.name), add) for one in fields(value) if one.init}
        return {"class": [type(value).__module__, type(value).__name__], "fields": own}
    raise IpcError(f"a value of type {type(value).__name__} cannot be sent")


def _encode_array(array: Array, add: Any) -> dict[str, Any]:
    if array.dtype.hasobject or array.dtype.kind not in "biufcSUV":
        raise IpcError(f"an array of {array.dtype} cannot be sent")
    by_columns = array.flags.f_contiguous and not array.flags.c_contiguous
    rows = array.T if by_columns else np.ascontiguousarray(array)
    kind = array.dtype.str if array.dtype.kind != "V" else np.lib.format.dtype_to_descr(array.dtype)
    return {"array": add(rows), "dtype": kind, "shape": list(array.shape), "columns": bool(by_columns)}


def _decode(tree: Any, data: memoryview) -> Any:
    if isinstance(tree, list):
        return [_decode(one, data) for one in tree]
    if not isinstance(tree, dict):
        return tree
    if "array" in tree:
        return _decode_array(tree, data)
    if "tuple" in tree:
        return tuple(_decode(one, data) for one in tree["tuple"])
    if "set" in tree:
        return frozenset(_decode(one, data) for one in tree["set"])
    if "dict" in tree:
        return {_decode(key, data): _decode(one, data) for key, one in tree["dict"]}
    if "bytes" in tree:
        return base64.b64decode(tree["bytes"])
    kind = _class(*tree["class"])
    return kind(**{name: _decode(one, data) for name, one in tree["fields"].items()})


@lru_cache(maxsize=256)
def _class(module: str, name: str) -> type:
    """Return a dataclass by name. Raises IpcError unless it is of a module of medzoo that defines data objects."""
    if not _is_named_ours(module):
        raise IpcError("a message names a class that is not medzoo's")
    kind = getattr(sys.modules.get(module) or import_module(module), name)
    if not isinstance(kind, type) or not is_dataclass(kind) or not _is_ours(kind, module):
        raise IpcError("a message names a class that is not medzoo's")
    return kind


def _is_ours(kind: type, module: str) -> bool:
    return kind.__module__ == module and _is_named_ours(module)


def _is_named_ours(module: str) -> bool:
    package, _, rest = module.partition(".")
    return package == "medzoo" and rest.partition(".")[0] in _ROOMS


def _decode_array(tree: Mapping[str, Any], data: memoryview) -> Array:
    kind = tree["dtype"]
    dtype = np.dtype(kind) if isinstance(kind, str) else np.lib.format.descr_to_dtype([tuple(one) for one in kind])
    shape, start = tuple(int(n) for n in tree["shape"]), int(tree["array"])
    if dtype.hasobject or min(shape, default=0) < 0 or start < 0:
        raise IpcError("an array cannot be read")
    count = math.prod(shape)
    if start + count * dtype.itemsize > len(data):
        raise IpcError("an array is longer than its message")
    if not count:
        return np.empty(shape, dtype)
    flat = np.frombuffer(data, dtype, count, start)
    return flat.reshape(shape[::-1]).T if tree["columns"] else flat.reshape(shape)
