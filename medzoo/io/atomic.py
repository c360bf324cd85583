"""Output files that are whole or not there. Knows nothing of what is written."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from medzoo.errors import UserError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A name beside `path` (same suffix) to write to; renamed to `path` if the block ends well, else removed.

    Missing parent folders are made. A link is followed, so that it goes on pointing at the new file.
    Raises UserError naming `path` where the system refuses (full disk, no permission, a folder of that name).
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file() and not target.is_dir():
        yield target  # a device or a pipe: nothing can be renamed onto it
        return
    beside = target.with_name(f".{secrets.token_hex(6)}.{target.name}")
    try:
        if target.is_dir():
            raise IsADirectoryError(None, "a folder of this name is there already")
        target.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        beside.replace(target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"cannot be written: {reason}", where=str(path)) from error
    finally:
        with suppress(OSError):
            beside.unlink()


def atomic_write(path: str | Path, write: Callable[[BinaryIO], object]) -> Path:
    """Let `write` fill a new file, then put it at `path` in one step; returns `path`. Raises UserError."""
    with atomic_path(path) as beside, beside.open("wb") as handle:
        write(handle)
        handle.flush()
        if beside.is_file():
            os.fsync(handle.fileno())
    return Path(path)
