"""Volumes that stay in their file: read where they are asked for, through a memory map, and not decoded as a whole.

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
    """Within it, readers give volumes of uncompressed files as read-only views of the file."""
    token = _WANTED.set(True)
    try:
        yield
    finally:
        _WANTED.reset(token)


def is_wanted() -> bool:
    """Whether the caller asked for views of files."""
    return _WANTED.get()


def map_of(array: Array) -> mmap.mmap | None:
    """The memory map that an array is a view of, None if it lies in memory."""
    base: object = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            found: mmap.mmap | None = base._mmap  # type: ignore[attr-defined]
            return found
        base = base.base
    return None


def release(array: Array) -> None:
    """Let go of the memory that pages of a mapped array take; they are read again when they are asked for."""
    found = map_of(array)
    if found is not None and hasattr(mmap, "MADV_DONTNEED"):
        found.madvise(mmap.MADV_DONTNEED)
