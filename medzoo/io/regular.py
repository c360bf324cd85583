"""Open regular files alone: a named pipe or device in their place neither blocks nor is read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from medzoo.errors import UserError

# A named pipe without a writer is opened at once instead of being waited for; Windows has neither.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading, links followed.

    What was opened is looked at, not the name, which may have been exchanged since. Raises UserError for a named pipe,
    a device, a socket or a folder, and for a file that may not be read.
    """
    where = str(path)
    try:
        descriptor = os.open(path, _FLAGS)
    except PermissionError as error:
        raise UserError("cannot be read: permission denied", where, "check its permissions") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UserError(f"cannot be read: {getattr(error, 'strerror', None) or error}", where) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UserError("is not a regular file", where)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise
