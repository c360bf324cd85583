"""Checks of zip archives before anything is unpacked: bombs, damage, too many entries."""

from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path

import numpy as np

from medzoo.errors import UserError
from medzoo.io.limits import limits
from medzoo.io.regular import open_regular

MOST_UNPACKED = 16 << 30  # bytes that an archive of arrays may unpack to
HONEST = 200  # times smaller than its arrays a file of pictures is at most; blank pictures pack better than real ones
SMALL = 64 << 20  # bytes below which any ratio is let through
HEAD = 1 << 16
# PKWARE's APPNOTE 4.3.16: the record at the end of an archive, 22 bytes and a comment of at most 64 KiB.
_END, _END_SIZE, _LONGEST_COMMENT = b"PK\5\6", 22, 1 << 16
_ZIP64_LOCATOR, _IN_ZIP64 = b"PK\6\7", 2**32 - 1
ENTRY = 1024  # bytes of an entry in the directory, at most, names and extra fields counted


def check_archive(path: Path) -> None:
    """Check the sizes in the directory of a .npz, and in each array's header, before it is read.

    Raises UserError for a bomb (more bytes than medzoo reads, or than a file this small can honestly hold), for an
    array whose header claims another size than its entry has, and zipfile.BadZipFile for what is no archive.
    """
    where = str(path)
    stored = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        claimed = sum(entry.file_size for entry in entries)
        if claimed > MOST_UNPACKED or claimed > max(SMALL, HONEST * stored):
            raise UserError(
                f"is {stored} bytes and would unpack to {claimed / 1e9:.1f} GB", where, "it looks like a zip bomb"
            )
        for entry in entries:
            with archive.open(entry) as handle:
                version = np.lib.format.read_magic(handle)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(handle, max_header_size=HEAD)
                size = int(np.prod(shape, dtype=object)) * dtype.itemsize
                if handle.tell() + size != entry.file_size:
                    raise UserError(f"its array {entry.filename} differs in length from what its header states", where)


def check_directory(path: Path) -> None:
    """Refuse a zip archive whose directory is longer than one of as many entries as may be read, before it is read:
    each entry takes some twenty times its size in memory. Raises UserError."""
    where = str(path)
    with open_regular(path) as handle:
        length = os.fstat(handle.fileno()).st_size
        handle.seek(max(0, length - _END_SIZE - _LONGEST_COMMENT))
        tail = handle.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + _END_SIZE:
        raise UserError("is a truncated, damaged or unreadable archive: it has no directory at its end", where)
    size = struct.unpack_from("<I", tail, at + 12)[0]
    if size == _IN_ZIP64 and tail[at - 20 : at - 16] == _ZIP64_LOCATOR:
        with open_regular(path) as handle:
            handle.seek(min(struct.unpack_from("<Q", tail, at - 12)[0], length))
            record = handle.read(56)
        size = struct.unpack_from("<Q", record, 40)[0] if len(record) == 56 else length
    most = limits().archive_entries
    if size > ENTRY * most:
        raise UserError("holds more files than medzoo reads", where, f"at most {most} are read here")
