"""Durable writes: sync files and folders to disk, swap folders atomically, and lock them.

A file is whole after `rename` even if the process is killed, but a machine that loses power may forget the rename.
Durable are model folders, checkpoints, the facts of a run, the index of models and what was fetched; answers to images
are not, as they can be had again, and a flush for each of them would be most of their time.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def sync_file(path: Path) -> None:
    """Sync a file to disk. Raises OSError."""
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


def sync_folder(path: Path) -> None:
    """Sync the entries of a folder to disk; a no-op where the system cannot (Windows, some network disks)."""
    if os.name == "nt":
        return
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def exchange(one: Path, other: Path) -> bool:
    """Swap two paths atomically; returns False where the system or file system cannot.

    Linux alone has it (renameat2, RENAME_EXCHANGE). Raises OSError for any other reason.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform == "linux" else None
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM):
        return False
    raise OSError(code, os.strerror(code), str(one))


@contextmanager
def folder_lock(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Lock a folder against other processes and threads; released when the process ends.

    Nothing is written. Where folders cannot be locked nobody waits.
    """
    if os.name == "nt":
        yield
        return
    import fcntl

    handle = -1
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    try:
        yield
    finally:
        if handle >= 0:
            os.close(handle)
