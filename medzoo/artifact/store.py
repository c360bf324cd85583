"""The models that were fetched to this machine: brought file by file, resumable, and never seen half.

A model is put together under .incoming/NAME beside its place, by one process at a time (a lock that the system
drops with the process), each file as FILE.part until its digest is right; then the folder is renamed into place.
Whatever ends a fetch - a kill, a full disk, a lost line - the next one goes on from the bytes that are there.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from medzoo.artifact.folder import ModelFolder
from medzoo.artifact.index import INDEX, Index, IndexFile
from medzoo.artifact.source import Source
from medzoo.errors import UserError
from medzoo.io.durable import exchange, sync_file, sync_folder

_PIECE = 1 << 18
_INDEX_LIMIT = 4_000_000
_ATTEMPTS = 3  # of a file whose line ends early, in one command
Watch = Callable[[int], None]
"""Told how many bytes came, piece by piece; those that were there count as well."""


class Store:
    """The folder of fetched models."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fetch(self, source: Source, index: Index, model: str, *, watch: Watch = lambda _: None) -> Path:
        """The model's folder, complete and as the index says; what is there already is kept.

        Raises UserError that names the file which is not what the index says, or cannot be had or written.
        """
        files = index.models[model]
        target = self.folder / model
        try:
            with self._locked(model):
                if _is_complete(target, files):
                    for one in files:
                        watch(one.bytes)
                    return target
                incoming = self.folder / ".incoming" / model
                _clear(incoming, files)
                for one in files:
                    _download(source, f"{model}/{one.name}", one, incoming / one.name, watch=watch)
                ModelFolder.open(incoming)
                self._place(incoming, target)
        except OSError as error:
            raise UserError(
                f"cannot be written: {error.strerror or error}", where=str(self.folder), hint="free space, try again"
            ) from error
        return target

    @contextmanager
    def _locked(self, model: str) -> Iterator[None]:
        """One fetch of a model at a time on this machine; a second waits, then finds the work done."""
        locks = self.folder / ".incoming"
        locks.mkdir(parents=True, exist_ok=True)
        with (locks / f"{model}.lock").open("ab") as handle:
            if os.name == "nt":
                import msvcrt

                msvcrt.locking(handle.fileno(), msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined,unused-ignore]
            else:
                import fcntl

                fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _place(self, incoming: Path, target: Path) -> None:
        """Put a whole folder in its place, durably: in one step where the system has one."""
        for inside, _, names in os.walk(incoming):
            for name in names:
                sync_file(Path(inside) / name)
            sync_folder(Path(inside))
        if not target.exists():
            incoming.rename(target)
        elif exchange(incoming, target):
            shutil.rmtree(incoming, ignore_errors=True)
        else:
            # In between there is no model of this name; the next fetch finds `incoming` whole and puts it there.
            old = self.folder / ".incoming" / f"{target.name}.{secrets.token_hex(6)}.old"
            target.rename(old)
            incoming.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        sync_folder(self.folder)


def _clear(incoming: Path, files: tuple[IndexFile, ...]) -> None:
    """Drop from a folder in the making what is no part of the model that is asked for: an older one's files."""
    wanted = {name for one in files for name in (one.name, f"{one.name}.part")}
    for path in sorted(incoming.rglob("*"), reverse=True):
        if path.is_symlink() or (path.is_file() and path.relative_to(incoming).as_posix() not in wanted):
            path.unlink()


def read_index(source: Source, *, pin: str, where: str) -> Index:
    """The index of a source. Raises UserError if it cannot be had or is not the pinned one."""
    raw = b""
    with source.open(INDEX) as stream:
        while len(raw) < _INDEX_LIMIT and (piece := stream.read(_PIECE)):
            raw += piece
    return Index.read(raw, pin=pin, where=f"{where}: {INDEX}")


def _is_complete(target: Path, files: tuple[IndexFile, ...]) -> bool:
    """True if a folder holds every file of the index, byte by byte."""
    return all(_matches_entry(target / one.name, one) for one in files)


def _matches_entry(path: Path, one: IndexFile) -> bool:
    if path.is_symlink() or not path.is_file() or path.stat().st_size != one.bytes:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == one.sha256


def _download(source: Source, name: str, one: IndexFile, path: Path, *, watch: Watch) -> None:
    """One file to `path`, from the bytes on that an earlier attempt left. Raises UserError if it is another file."""
    if _matches_entry(path, one):
        watch(one.bytes)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    if part.exists() and part.stat().st_size > one.bytes:
        part.unlink()
    for attempt in range(_ATTEMPTS):
        had = part.stat().st_size if part.exists() else 0
        if had < one.bytes or not one.bytes:
            _download_rest(source, name, one, part, had, watch, reported=had if attempt else 0)
        else:
            watch(had)
        if part.stat().st_size == one.bytes:
            break
    size = part.stat().st_size
    if size < one.bytes:
        raise UserError(
            f"ends after {size} of {one.bytes} bytes", where=name, hint="run the same command again to continue"
        )
    if not _matches_entry(part, one):
        part.unlink()
        raise UserError(
            "its SHA-256 differs from the index, so it was discarded",
            where=name,
            hint="fetch again; if it fails again, the source is damaged",
        )
    part.replace(path)


def _download_rest(
    source: Source, name: str, one: IndexFile, part: Path, had: int, watch: Watch, *, reported: int
) -> None:
    """Add what is missing to `part`; never more bytes than the index says, whatever the source sends.

    `reported`: bytes of `part` that `watch` knows of.
    """
    with source.open(name, offset=had) as stream, part.open("ab") as out:
        if stream.start != had:
            out.truncate(stream.start)
        watch(stream.start - reported)
        left = one.bytes - stream.start
        while piece := stream.read(min(_PIECE, left + 1)):
            if len(piece) > left:
                out.truncate(0)
                raise UserError(f"is longer than the {one.bytes} bytes in the index, so it was discarded", where=name)
            out.write(piece)
            watch(len(piece))
            left -= len(piece)
        out.flush()
        os.fsync(out.fileno())
