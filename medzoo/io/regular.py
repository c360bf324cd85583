"""Open regular files alone: a named pipe or device in their place neither blocks nor is read.

So are data files that a text header (.mhd, .nhdr) names: only in the header's own folder.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from medzoo.errors import UserError
from medzoo.io.limits import limits

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


def data_file(header: Path, name: str) -> Path:
    """The file called `name` in the folder of `header` or below it.

    Raises UserError if it leads out of that folder (through `..`, an absolute path or a link), is not there or no
    regular file, and where the limits allow no data file beside the header.
    """
    where = str(header)
    one_file = f"save it as one {'.nrrd' if header.suffix.lower() in ('.nhdr', '.nrrd') else '.mha'} file"
    if not limits().detached_data:
        raise UserError(f"stores its data in another file, {name!r}, which is not read here", where, one_file)
    try:
        folder = header.parent.resolve()
        # Not strict: what lies outside is refused in the same words whether it is there or not.
        path = (folder / name).resolve()
        is_there = path.is_file()
    except (OSError, RuntimeError, ValueError):  # RuntimeError: a link that leads to itself, ValueError: a NUL
        raise UserError(f"its data file {name!r} cannot be found", where) from None
    if not path.is_relative_to(folder):
        raise UserError(f"stores its data in {name!r}, outside its own folder", where, one_file)
    if not is_there:
        raise UserError(f"its data file {name!r} is not beside it, or is not a regular file", where)
    return path
