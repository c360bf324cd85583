"""Images as bytes or open binary files, for readers that take a path."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medzoo.errors import Fault, UserError
from medzoo.io.formats import SUFFIXES, suffix

_OPEN = "open it with open(path, 'rb'), or give the path"


def is_file_object(source: Any) -> bool:
    """True if `source` holds the bytes of a file: bytes, a flat memoryview, or anything with a `read` method."""
    if isinstance(source, memoryview):
        return source.ndim == 1
    return isinstance(source, bytes | bytearray) or (hasattr(source, "read") and not isinstance(source, os.PathLike))


def name_of(source: Any) -> str:
    """The name of an open file, else the type of the object."""
    name = getattr(source, "name", None)
    return name if isinstance(name, str) and name else type(source).__name__


def content_of(source: Any) -> bytes:
    """Read all bytes of `source`; an open file from its beginning. Raises UserError."""
    where = name_of(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    try:
        place = source.tell() if _seekable(source) else None
        if place is not None:
            source.seek(0)
        raw = source.read()
        if place is not None:
            source.seek(place)
    except (OSError, ValueError, io.UnsupportedOperation) as error:  # closed, or open for writing alone
        raise UserError(f"cannot be read: {error}", where, _OPEN) from error
    if isinstance(raw, str):
        raise UserError("is open in text mode, but an image is binary", where, _OPEN)
    if not isinstance(raw, bytes | bytearray | memoryview):
        raise UserError(f"its read method returned {type(raw).__name__}, not bytes", where, _OPEN)
    return bytes(raw)


@contextmanager
def as_path(source: Any) -> Iterator[Path]:
    """Yield a path to the bytes of `source` in a private temporary folder.

    Errors name `source` instead of the path. Raises UserError.
    """
    where, raw = name_of(source), content_of(source)
    if not raw:
        raise UserError("is empty (0 bytes)", where)
    known = suffix(where)
    with tempfile.TemporaryDirectory(prefix="medzoo-") as folder:
        path = Path(folder) / f"content{known if known in SUFFIXES else ''}"
        path.write_bytes(raw)
        try:
            yield path
        except UserError as error:
            faults = [
                Fault(
                    fault.message.replace(str(path), where),
                    None if fault.where is None else fault.where.replace(str(path), where),
                    fault.hint,
                )
                for fault in error.faults
            ]
            raise UserError.of(faults) from error


def _seekable(source: Any) -> bool:
    ask = getattr(source, "seekable", None)
    return bool(ask()) if ask is not None else hasattr(source, "seek") and hasattr(source, "tell")
