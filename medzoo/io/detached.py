"""The data file that a text header (.mhd, .nhdr) names beside itself."""

from __future__ import annotations

from pathlib import Path

from medzoo.errors import UserError
from medzoo.io.limits import limits


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
