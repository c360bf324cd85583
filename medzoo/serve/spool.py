"""The temporary folder of a server's uploads, which is removed even after a crash.

It is the supervisor's: whatever a worker that was killed left in it is cleared at once, and what a supervisor that was
killed left is cleared by the next server of this user, which tells by a lock that nobody holds any more.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

FOLDER = "MEDZOO_SERVE_SPOOL"
"""Environment variable by which a supervisor names its spool to a worker."""
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
