"""Memory of the worker process: returns the heap that large requests left free to the system."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_EVERY = 5.0  # seconds between two looks
_GROWN = 256 << 20  # bytes above the least seen from which on it is worth a search through the heap


async def release_memory(idle: Callable[[], bool]) -> None:
    """Return free memory to the system whenever this process has grown and is `idle`, until cancelled.

    glibc keeps what was freed between blocks that are still used; requests of hundreds of megabytes would stay.
    """
    trim = _trim()
    if trim is None:
        return
    least = resident()
    while True:
        await asyncio.sleep(_EVERY)
        now = resident()
        if idle() and now > least + _GROWN:
            await asyncio.to_thread(trim, 0)
            now = resident()
        least = min(least, now)


def resident() -> int:
    """Return the resident memory of this process in bytes; 0 if unknown."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _trim() -> Callable[[int], int] | None:
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # another C library
            trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
            return trim
    return None
