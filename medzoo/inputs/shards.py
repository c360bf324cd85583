"""A cache of decoded images: in memory up to a bound, beyond it in shards on disk.

A shard is a file without a name, which vanishes with the process however it ends.
"""

from __future__ import annotations

import logging
import os
import tempfile
import zlib
from contextlib import suppress
from typing import IO

import numpy as np

from medzoo.io.cache import cache_folder
from medzoo.types import Array

log = logging.getLogger("medzoo.training")
SHARD = 256 << 20  # bytes of a file
_PLACE = np.dtype(
    [("shard", "i4"), ("offset", "i8"), ("type", "S8"), ("shape", "i4", (4,)), ("axes", "i1"), ("crc", "u4")]
)


class Shards:
    """Up to `count` arrays by index, in memory until `limit` bytes are full, then in files.

    The process that made it writes; those that branch off from it read. Where the disk refuses, nothing more is kept.
    """

    def __init__(self, count: int, *, limit: int, shard: int = SHARD) -> None:
        self._room, self._shard = limit, shard
        self._memory: dict[int, Array] = {}
        self._places = np.zeros(count, _PLACE)
        self._places["shard"] = -1
        self._files: list[IO[bytes]] = []
        self._end = shard
        self._writer = os.getpid()
        self._full = False

    def get(self, index: int) -> Array | None:
        """The array kept under `index`, read-only; None if there is none."""
        found = self._memory.get(index)
        if found is not None:
            return found
        place = self._places[index]
        if place["shard"] < 0:
            return None
        shape = tuple(int(n) for n in place["shape"][: place["axes"]])
        dtype = np.dtype(place["type"].decode())
        size = int(np.prod(shape)) * dtype.itemsize
        raw = os.pread(self._files[place["shard"]].fileno(), size, int(place["offset"]))
        if len(raw) != size or zlib.crc32(raw) != place["crc"]:
            log.warning("a cached picture is damaged on disk and is read again")
            return None
        return np.frombuffer(raw, dtype).reshape(shape)

    def put(self, index: int, array: Array) -> None:
        """Keep an array of up to four axes."""
        if array.nbytes <= self._room:
            self._room -= array.nbytes
            self._memory[index] = array
            return
        self._room = 0  # from here on the disk, so that small ones do not fill memory up bit by bit
        if self._full or os.getpid() != self._writer:
            return
        try:
            if self._end + array.nbytes > self._shard:
                self._files.append(_unnamed())
                self._end = 0
            raw = np.ascontiguousarray(array).tobytes()
            os.pwrite(self._files[-1].fileno(), raw, self._end)
        except OSError:
            self._full = True
            return
        shape = (*array.shape, *(0,) * (4 - array.ndim))
        self._places[index] = (
            len(self._files) - 1,
            self._end,
            array.dtype.str.encode(),
            shape,
            array.ndim,
            zlib.crc32(raw),
        )
        self._end += array.nbytes


def _unnamed() -> IO[bytes]:
    """A file that has no name, in the cache's folder or where temporary files go."""
    folder = cache_folder()
    if folder is not None:
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            return tempfile.TemporaryFile(dir=folder)
    return tempfile.TemporaryFile()
