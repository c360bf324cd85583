"""Copies of inputs that their owner may overwrite later."""

from __future__ import annotations

import copy
import os
import stat
import sys
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.io.array import is_array, to_array
from medzoo.io.file_object import content_of, is_file_object, name_of


def snapshot(source: Any) -> Any:
    """Copy an input in memory, so that its owner can reuse the buffer.

    An iterator may fill one array, Pillow picture or buffer anew for every image, and close its files, while earlier
    images still wait for their turn. Paths, medzoo's own Images, and images that nibabel reads from their files come
    back as they are. Raises UserError for an object that cannot be read.
    """
    if isinstance(source, bytes):
        return source
    if is_file_object(source):
        return NamedBytes(content_of(source), name_of(source))
    if "PIL.Image" in sys.modules and isinstance(source, sys.modules["PIL.Image"].Image):
        from medzoo.io.picture import from_pillow

        return from_pillow(source)  # decoded here: the same object may be at its next frame later
    if "nibabel" in sys.modules and isinstance(source, sys.modules["nibabel"].spatialimages.SpatialImage):
        if not isinstance(source.dataobj, np.ndarray):
            return source
        return type(source)(np.array(source.dataobj), source.affine, source.header)
    if "pydicom" in sys.modules and isinstance(source, sys.modules["pydicom"].Dataset):
        return copy.deepcopy(source)
    if is_array(source):
        array = to_array(source)
        return array.copy()
    return source


def file_version(source: Any) -> tuple[int, int, int] | None:
    """Identify the content of a file by its inode, size and modification time; None for anything else.

    Two versions of one size that are written within a tick of the file system's clock look the same.
    """
    if not isinstance(source, str | os.PathLike):
        return None
    try:
        facts = Path(source).stat()
    except (OSError, ValueError):  # the reader says what is wrong, or knows more kinds of names
        return None
    return (facts.st_ino, facts.st_size, facts.st_mtime_ns) if stat.S_ISREG(facts.st_mode) else None


class NamedBytes(bytes):
    """The bytes of an open file, with its name."""

    name: str

    def __new__(cls, raw: bytes, name: str) -> NamedBytes:
        """`name`: see `name_of`."""
        made = super().__new__(cls, raw)
        made.name = name
        return made
