"""A disk cache of arrays that are expensive to compute from a file, by the digest of its bytes.

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
_intact: set[tuple[str, int, int]] = set()
_written = _due = 0


def cached(path: str | Path, key: str, make: Callable[[], Array]) -> Array:
    """The read-only result of `make` for the file at `path`, from the cache if its bytes are cached under `key`.

    `key` stands for everything else that `make` depends on (steps, sizes, the version of the code). Only the bytes of
    the file count, not its name or time. Without a cache (no folder, a full disk) the array is computed each time.
    Exceptions of `make` propagate and nothing is cached.
    """
    return cached_result(f"{file_digest(path)}\n{key}", make) if cache_folder() is not None else _frozen(make())


def cached_result(key: str, make: Callable[[], Array]) -> Array:
    """`cached` for a result of no file or of several; `key` holds the digests of all inputs."""
    folder = cache_folder()
    if folder is None:
        return _frozen(make())
    name = hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()
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
    """The folder of the cache; None if `$MEDZOO_CACHE` is empty, which turns it off."""
    named = os.environ.get("MEDZOO_CACHE")
    if named is not None:
        return Path(named) if named else None
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "medzoo"


def file_digest(path: str | Path) -> str:
    """SHA-256 (hex) of a file's bytes; remembered while its inode, size and modification time stay the same."""
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
    """Open an entry as a read-only memory map; None if it is missing or damaged."""
    try:
        with entry.open("rb") as handle:
            if not _is_intact(entry, handle):
                log.warning("%s: a cache entry is damaged and is computed again", entry)
                return None
        found: Array = np.load(entry, mmap_mode="r", allow_pickle=False)
        os.utime(entry)  # what was used last goes last
    except (OSError, ValueError, EOFError):
        return None
    return found


def _is_intact(entry: Path, handle: BinaryIO) -> bool:
    """True if an entry matches its digest; checked once per process and file."""
    state = os.fstat(handle.fileno())
    known = (str(entry), state.st_ino, state.st_size)
    if known in _intact:
        return True
    digest = hashlib.blake2b(digest_size=_DIGEST)
    left = state.st_size - _DIGEST - len(_MAGIC)
    while left > 0 and (piece := handle.read(min(left, _PIECE))):
        digest.update(piece)
        left -= len(piece)
    if left or handle.read() != digest.digest() + _MAGIC:
        return False
    _intact.add(known)
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
    """A writable file that computes the digest of its content."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest = file, hashlib.blake2b(digest_size=_DIGEST)

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self.file.write(data)


def _trim(folder: Path) -> int:
    """Remove the least recently used entries until the cache fits; open entries stay readable.

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
