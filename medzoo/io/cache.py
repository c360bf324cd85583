"""Arrays that are dear to make from a file, kept on disk by the digest of the file's bytes.

`$MEDZOO_CACHE` names the folder (default: medzoo in the user's cache folder; empty: nothing is kept),
`$MEDZOO_CACHE_GB` the most it may hold (default 20). Each entry is one .npy file, written beside its place and
renamed, and read as a memory map: any number of workers may make, read and drop the same entry at once. Behind the
array stands its BLAKE2: each process checks an entry when it first reads it, and one that a disk or anybody else has
changed is made anew, and said.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

import numpy as np

from medzoo.types import Array

log = logging.getLogger("medzoo.io")
_DIGEST = 16  # bytes
_MAGIC = b"medzoo01"  # behind the array and its digest
_PIECE = 1 << 22
_ROUND = 64  # entries that a process writes, at least, between two looks at the size of the whole
_digests: dict[tuple[str, int, int, int], str] = {}
_sound: set[tuple[str, int, int]] = set()
_written = _due = 0


def cached(path: str | Path, key: str, make: Callable[[], Array]) -> Array:
    """What `make` returns for the file at `path`, read-only: from disk if these bytes were met under `key` before.

    `key` says what was done to the file and changes with everything that `make` depends on beside it (steps,
    sizes, the version of the code). Only the bytes count, not the name or the time: a copy is a hit, a changed
    file is none. Where nothing can be kept (no folder, a full disk) the array is made, and that is all.
    What `make` raises is passed on, and nothing is kept.
    """
    return kept(f"{file_digest(path)}\n{key}", make) if cache_folder() is not None else _frozen(make())


def kept(key: str, make: Callable[[], Array]) -> Array:
    """`cached` for what is made from no file, or from many: `key` holds the digests of all that counts."""
    folder = cache_folder()
    if folder is None:
        return _frozen(make())
    name = hashlib.sha256(key.encode()).hexdigest()
    entry = folder / name[:2] / f"{name}.npy"
    found = _load(entry)
    if found is not None:
        return found
    array = _frozen(make())
    _store(entry, array)
    # From the disk already now, so that a first run holds no more memory than the next one.
    found = _load(entry)
    return array if found is None else found


def cache_folder() -> Path | None:
    """The folder of the cache, None if `$MEDZOO_CACHE` is empty: nothing is kept."""
    named = os.environ.get("MEDZOO_CACHE")
    if named is not None:
        return Path(named) if named else None
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "medzoo"


def file_digest(path: str | Path) -> str:
    """SHA-256 (hex) of a file's bytes; read once by a process as long as its inode, size and time stay."""
    path = Path(path)
    state = path.stat()
    known = (str(path), state.st_ino, state.st_size, state.st_mtime_ns)
    if known not in _digests:
        with path.open("rb") as handle:
            _digests[known] = hashlib.file_digest(handle, "sha256").hexdigest()
    return _digests[known]


@cache
def code_digest() -> str:
    """SHA-256 (hex) of medzoo's own sources and of the versions of what it computes with: for the keys of what another
    version would make otherwise."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256(f"{version('numpy')} {version('scipy')}".encode())
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def _frozen(array: Array) -> Array:
    array = np.ascontiguousarray(array)
    array.flags.writeable = False
    return array


def _load(entry: Path) -> Array | None:
    """The entry as a read-only memory map; None if it is not there, or damaged (then it is made anew)."""
    try:
        with entry.open("rb") as handle:
            if not _is_sound(entry, handle):
                log.warning("%s: an entry of the cache is damaged, it is made anew", entry)
                return None
        found: Array = np.load(entry, mmap_mode="r", allow_pickle=False)
        os.utime(entry)  # what was used last goes last
    except (OSError, ValueError, EOFError):
        return None
    return found


def _is_sound(entry: Path, handle: BinaryIO) -> bool:
    """Whether an entry is what was written; checked once a process as long as it is the same file."""
    state = os.fstat(handle.fileno())
    known = (str(entry), state.st_ino, state.st_size)
    if known in _sound:
        return True
    digest = hashlib.blake2b(digest_size=_DIGEST)
    left = state.st_size - _DIGEST - len(_MAGIC)
    while left > 0 and (piece := handle.read(min(left, _PIECE))):
        digest.update(piece)
        left -= len(piece)
    if left or handle.read() != digest.digest() + _MAGIC:
        return False
    _sound.add(known)
    return True


def _store(entry: Path, array: Array) -> None:
    global _written, _due
    beside = entry.with_name(f".{secrets.token_hex(6)}.npy")
    with suppress(OSError):
        try:
            entry.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with beside.open("xb") as handle:
                os.fchmod(handle.fileno(), 0o600)  # pixels of patients are nobody else's
                writer = _Digested(handle)
                np.lib.format.write_array(writer, array, allow_pickle=False)
                handle.write(writer.digest.digest() + _MAGIC)
            beside.replace(entry)
        finally:
            beside.unlink(missing_ok=True)
        if _written >= _due:
            # Seldom where there are many: looking at each of them is what takes time.
            _due = _written + max(_ROUND, _trim(entry.parent.parent) // 4)
        _written += 1


class _Digested:
    """A file to write to, and the digest of what was written."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest = file, hashlib.blake2b(digest_size=_DIGEST)

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self.file.write(data)


def _trim(folder: Path) -> int:
    """Drop what was used longest ago until the cache fits; an entry in use stays readable to who has it open.

    Returns how many there were.
    """
    limit = float(os.environ.get("MEDZOO_CACHE_GB", "20")) * 1e9
    entries = []
    for path in folder.glob("*/*.npy"):
        with suppress(OSError):
            state = path.stat()
            entries.append((state.st_mtime_ns, state.st_size, path))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= limit:
            break
        with suppress(OSError):
            path.unlink()
        total -= size
    return len(entries)
