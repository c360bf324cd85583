"""Read the values behind a text header (NRRD, MetaImage), checked against the header first."""

from __future__ import annotations

import bz2
import math
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from medzoo.errors import UserError
from medzoo.io.check import check_extent
from medzoo.io.regular import open_regular
from medzoo.types import Array

Encoding = Literal["raw", "deflate", "bzip2", "ascii", "hex"]
RATIO = 1032  # deflate cannot pack more bytes into one
CHUNK = 1 << 22
_TEXT_CHUNK = 1 << 20
_LONGEST_NUMBER = 64
_ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS


def read_voxels(
    path: Path,
    *,
    offset: int,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    encoding: Encoding,
    lines: int = 0,
    skip: int = 0,
    header: Path | None = None,
) -> Array:
    """The array of `shape` (first axis fastest) that lies in `path`, in native byte order.

    It begins at byte `offset`, after `lines` lines and then `skip` bytes, which count once they are unpacked. A
    negative `skip` counts from the end: -1 if the values are the last of the file, -3 if two bytes follow them.
    `header`: the file that names `path` as its data file. Raises UserError where it holds fewer values than claimed or
    is damaged; never takes more memory than the file can fill.
    """
    where, subject = (str(path), "") if header is None else (str(header), f"its data file {path.name!r} ")
    check_extent(shape, where, itemsize=dtype.itemsize)
    size = math.prod(shape) * dtype.itemsize
    claim = f"its header claims {' x '.join(map(str, shape))} values ({size} bytes)"
    with open_regular(path) as handle:
        handle.seek(offset)
        for _ in range(lines):
            if not _skip_line(handle):
                raise UserError(
                    f"{subject}is truncated: it ends before the {lines} lines that are to be skipped", where
                )
        start = handle.tell()
        length = os.fstat(handle.fileno()).st_size - start
        if _least(size, shape, encoding) > length:
            raise UserError(f"{subject}is truncated or damaged: {claim}, {max(length, 0)} bytes follow it", where)
        try:
            if encoding == "ascii":
                handle.seek(start + skip)
                return _numbers(handle, math.prod(shape), dtype).reshape(shape, order="F")
            if encoding == "hex":
                handle.seek(start + skip)
                data: bytes | bytearray = _from_hex(handle, size)
            elif encoding == "raw":
                handle.seek(start + skip if skip >= 0 else start + length - size + skip + 1)
                data = handle.read(size) if handle.tell() >= start else b""
            else:
                data = _unpacked(handle, size, skip, encoding)
        except (zlib.error, OSError, EOFError, ValueError) as error:
            raise UserError(f"{subject}is damaged: its {encoding} values cannot be read ({error})", where) from error
    if len(data) < size:
        raise UserError(f"{subject}is truncated: {claim}, it holds {len(data)}", where)
    array = np.frombuffer(data, dtype, math.prod(shape)).reshape(shape, order="F")
    return array.astype(dtype.newbyteorder("="), copy=False)


def _least(size: int, shape: tuple[int, ...], encoding: Encoding) -> int:
    """The fewest bytes in which a file can hold `size` bytes of values."""
    if encoding == "deflate":
        return math.ceil(size / RATIO)
    if encoding == "ascii":
        return 2 * math.prod(shape) - 1
    return {"raw": size, "hex": 2 * size, "bzip2": 1}[encoding]


def _skip_line(handle: BinaryIO) -> bool:
    """Skip to the next line; False at the end of the file."""
    while piece := handle.readline(CHUNK):
        if piece.endswith(b"\n"):
            return True
    return False


def _unpacked(handle: BinaryIO, size: int, skip: int, encoding: Encoding) -> bytearray:
    """`size` unpacked bytes behind the first `skip`, or, if negative, in front of the last -skip - 1.

    The stream is followed a little further, to its checksum.
    """
    data = bytearray()
    if skip < 0:
        after = -skip - 1
        for piece in _pieces(handle, encoding):
            data += piece
            if len(data) > 2 * (size + after) + CHUNK:
                del data[: -(size + after)]
        return data[len(data) - size - after : len(data) - after] if len(data) >= size + after else bytearray()
    left, extra = skip, 0
    for piece in _pieces(handle, encoding):
        behind = piece[left:] if left else piece
        left = max(left - len(piece), 0)
        if len(data) < size:
            data += behind[: size - len(data)]
        else:
            extra += len(behind)
            if extra > CHUNK:
                break
    return data


def _pieces(handle: BinaryIO, encoding: Encoding) -> Iterator[bytes]:
    """Unpack a stream in pieces of at most `CHUNK` bytes; consecutive gzip members are one stream."""

    def fresh() -> Any:
        return bz2.BZ2Decompressor() if encoding == "bzip2" else zlib.decompressobj(_ZLIB_OR_GZIP)

    unpacker, waiting, members = fresh(), b"", 0
    while True:
        if unpacker.eof:
            members += 1
            waiting = unpacker.unused_data or handle.read(_TEXT_CHUNK)
            if not waiting.startswith((b"\x1f\x8b", b"BZh")):
                return
            unpacker = fresh()
        elif not waiting and (encoding != "bzip2" or unpacker.needs_input):
            waiting = handle.read(_TEXT_CHUNK)
            if not waiting:
                raise EOFError("it ends in the middle")
        piece = unpacker.decompress(waiting, CHUNK)
        waiting = b"" if encoding == "bzip2" else unpacker.unconsumed_tail
        if piece:
            yield piece


def _tokens(handle: BinaryIO) -> Iterator[list[bytes]]:
    """Iterate over tokens separated by white space or commas, in batches."""
    rest = b""
    while piece := handle.read(_TEXT_CHUNK):
        words = (rest + piece).replace(b",", b" ").split()
        rest = b""
        if words and piece[-1:] not in b" ,\t\r\n\v\f":
            rest = words.pop()
        if len(rest) > _LONGEST_NUMBER or any(len(word) > _LONGEST_NUMBER for word in words):
            raise ValueError("they are not numbers")
        if words:
            yield words
    if rest:
        yield [rest]


def _numbers(handle: BinaryIO, count: int, dtype: np.dtype[Any]) -> Array:
    """`count` numbers of a text as `dtype` in native byte order."""
    native = dtype.newbyteorder("=")
    array = np.empty(count, native)
    found = 0
    for words in _tokens(handle):
        values = _parsed(words[: count - found], native)
        array[found : found + len(values)] = values
        found += len(values)
        if found == count:
            return array
    raise ValueError(f"there are {found} of {count}")


def _parsed(words: list[bytes], dtype: np.dtype[Any]) -> Array:
    text = np.array(words)
    if dtype.kind == "f":
        return _decimal(text, dtype)
    try:
        whole = text.astype(np.int64)
    except (ValueError, OverflowError):
        try:
            if any(word.startswith(b"-") for word in words):
                raise ValueError
            whole = text.astype(np.uint64)
        except (ValueError, OverflowError):
            loose = _decimal(text, np.dtype(np.float64))  # "14.0"
            if not (np.abs(loose) <= 2.0**53).all() or (loose != np.rint(loose)).any():
                raise ValueError(f"they are not valid {dtype.name} values") from None
            whole = loose.astype(np.int64)
    bounds = np.iinfo(dtype)
    if int(whole.min()) < bounds.min or int(whole.max()) > bounds.max:
        raise ValueError(f"they are not valid {dtype.name} values")
    return whole.astype(dtype)


def _decimal(text: Array, dtype: np.dtype[Any]) -> Array:
    try:
        return text.astype(dtype)
    except ValueError:  # which quotes what stands there
        raise ValueError("they are not numbers") from None


def _from_hex(handle: BinaryIO, size: int) -> bytearray:
    """`size` bytes written as two digits each, white space between them."""
    data, odd = bytearray(), b""
    while len(data) < size and (piece := handle.read(_TEXT_CHUNK)):
        digits = odd + b"".join(piece.split())
        even = len(digits) & ~1
        data += bytes.fromhex(digits[:even].decode("latin-1"))
        odd = digits[even:]
    return data
