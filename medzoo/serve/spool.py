"""The temporary folder of a server's uploads, which is removed even after a crash.

It is the supervisor's: whatever a worker that was killed left in it is cleared at once, and what a supervisor that was
killed left is cleared by the next server of this user, which tells by a lock that nobody holds any more.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Self

FOLDER = "MEDZOO_SERVE_SPOOL"
"""Environment variable by which a supervisor names its spool to a worker."""
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_PREFIX, _LOCK = "medzoo-serve-", "lock"


class Spool:
    """A private temporary folder, created with the object and removed by `close`."""

    def __init__(self, parent: Path | None = None) -> None:
        place = Path(tempfile.gettempdir() if parent is None else parent)
        clear_abandoned(place)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place)).resolve()
        self._lock: IO[bytes] | None = _locked(self.path / _LOCK)

    @classmethod
    def shared(cls) -> Spool | None:
        """Return the spool of the supervisor of this process; None without one."""
        given = os.environ.get(FOLDER)
        if given is None:
            return None
        spool = cls.__new__(cls)
        spool.path, spool._lock = Path(given), None
        return spool

    def clear(self) -> None:
        """Remove the contents."""
        for entry in self.path.iterdir():
            if entry.name != _LOCK:
                _remove(entry)

    def close(self) -> None:
        """Remove the contents, and the folder if this process created it."""
        with suppress(OSError):
            self.clear()
        if self._lock is not None:
            _remove(self.path)
            self._lock.close()


class ScratchFiles:
    """Files of one request in the folder `parent`, removed with the block.

    They lie in `parent` itself: making a folder takes most file systems far longer than making a file.
    """

    def __init__(self, parent: Path) -> None:
        self.parent = parent
        self._start = f"upload-{secrets.token_hex(8)}-"
        self._made: list[Path] = []

    def path(self, ending: str) -> Path:
        """Return the path of a new file, which is not made yet; its name ends with `ending`."""
        made = self.parent / f"{self._start}{len(self._made):04}{ending}"
        self._made.append(made)
        return made

    def write(self, raw: bytes | memoryview, ending: str) -> Path:
        """Write a new file that only this user can read; return its path."""
        made = self.path(ending)
        with os.fdopen(os.open(made, _NEW, 0o600), "wb") as file:
            file.write(raw)
        return made

    def folder(self) -> Path:
        """Make a folder; return its path."""
        made = self.path("")
        made.mkdir(mode=0o700)
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for made in self._made:
            _remove(made)


def clear_abandoned(parent: Path) -> None:
    """Remove spools in `parent` whose server has ended."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            lock = folder / _LOCK
            if folder.is_symlink() or not folder.is_dir() or not _is_own(folder) or not lock.is_file():
                continue
            held = _locked(lock)
            if held is not None:
                _remove(folder)
                held.close()


def _is_own(folder: Path) -> bool:
    return sys.platform == "win32" or folder.stat().st_uid == os.getuid()


def _locked(path: Path) -> IO[bytes] | None:
    """Open and lock a file until it is closed; return None if another process holds the lock."""
    file = path.open("ab")
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)
