"""Memory-mapped volumes: parts are read from the file when they are used.

Only where a caller says `with mapped():`, as training does: an array that lies in a file changes with the file, and is
gone if somebody cuts the file off.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from medzoo.types import Array

_WANTED: ContextVar[bool] = ContextVar("mapped", default=False)


@contextmanager
def mapped() -> Iterator[None]:
    """Let readers return volumes of uncompressed files as read-only memory maps inside the block."""
    token = _WANTED.set(True)
    try:
        yield
    finally:
        _WANTED.reset(token)


def is_wanted() -> bool:
    """True inside a `mapped` block."""
    return _WANTED.get()


def map_of(array: Array) -> mmap.mmap | None:
    """The memory map that an array is a view of; None if there is none."""
    base: object = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            found: mmap.mmap | None = base._mmap  # type: ignore[attr-defined]
            return found
        base = base.base
    return None


def release(array: Array) -> None:
    """Free the resident pages of a mapped array; they are read again on access."""
    found = map_of(array)
    if found is not None and hasattr(mmap, "MADV_DONTNEED"):
        found.madvise(mmap.MADV_DONTNEED)
