"""Zip archives that are not what their directory says: found before anything of them is unpacked."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from medzoo.errors import UserError

MOST_UNPACKED = 16 << 30  # bytes that an archive of arrays may unpack to
HONEST = 200  # times smaller than its arrays a file of pictures is at most; blank pictures pack better than real ones
SMALL = 64 << 20  # bytes below which any ratio is let through
HEAD = 1 << 16


def check_archive(path: Path) -> None:
    """Look at a .npz before it is read: sizes claimed by its directory, and by each array's own header.

    Raises UserError for a bomb (more bytes than medzoo reads, or than a file this small can honestly hold), for an
    array whose header claims another size than its entry has, and zipfile.BadZipFile for what is no archive.
    """
    where = str(path)
    stored = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        claimed = sum(entry.file_size for entry in entries)
        if claimed > MOST_UNPACKED or claimed > max(SMALL, HONEST * stored):
            raise UserError(f"is {stored} bytes and would unpack to {claimed / 1e9:.1f} GB", where, "it is a bomb")
        for entry in entries:
            with archive.open(entry) as handle:
                version = np.lib.format.read_magic(handle)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(handle, max_header_size=HEAD)
                size = int(np.prod(shape, dtype=object)) * dtype.itemsize
                if handle.tell() + size != entry.file_size:
                    raise UserError(f"its array {entry.filename} is not as long as its header says", where)
