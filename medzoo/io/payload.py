"""The bytes behind a text header: raw, gzip or zlib, held against what the header claims before they are read."""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medzoo.errors import UserError
from medzoo.io.check import check_extent
from medzoo.types import Array

Packing = Literal["raw", "gzip", "zlib"]
RATIO = 1032  # deflate cannot pack more bytes into one
CHUNK = 1 << 22
_WINDOW = {"gzip": 16 + zlib.MAX_WBITS, "zlib": zlib.MAX_WBITS}


def read_voxels(path: Path, *, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any], packing: Packing) -> Array:
    """The array of `shape` (first axis fastest) that starts at byte `offset` of `path`, in native byte order.

    Raises UserError naming the file where it holds fewer bytes; never takes more memory than the file can fill.
    """
    where = str(path)
    check_extent(shape, where, itemsize=dtype.itemsize)
    size = math.prod(shape) * dtype.itemsize
    claim = f"its header claims {' x '.join(map(str, shape))} values ({size} bytes)"
    length = max(path.stat().st_size - offset, 0)
    if size > length * (1 if packing == "raw" else RATIO):
        raise UserError(f"is truncated or damaged: {claim}, {length} bytes follow it", where)
    with path.open("rb") as handle:
        handle.seek(offset)
        data = handle.read(size) if packing == "raw" else _unpacked(handle, size, packing, where)
    if len(data) < size:
        raise UserError(f"is truncated: {claim}, it holds {len(data)}", where)
    array = np.frombuffer(data, dtype, math.prod(shape)).reshape(shape, order="F")
    return array.astype(dtype.newbyteorder("="), copy=False)


def _unpacked(handle: Any, size: int, packing: Packing, where: str) -> bytearray:
    unpacker, data = zlib.decompressobj(_WINDOW[packing]), bytearray()
    try:
        while len(data) < size and (piece := handle.read(CHUNK)):
            while piece and len(data) < size:
                data += unpacker.decompress(piece, min(CHUNK, size - len(data)))
                piece = unpacker.unconsumed_tail
    except zlib.error as error:
        raise UserError(f"is damaged: its {packing} data cannot be unpacked ({error})", where) from error
    return data
