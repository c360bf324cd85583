"""Where released models are brought from: a web server, a folder, or an archive. Nothing that they say is trusted.

A source only hands out bytes from an offset on; who asks knows how many there must be, and their digest.
"""

from __future__ import annotations

import http.client
import lzma
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from medzoo.artifact.manifest import is_plain
from medzoo.errors import UserError

_TIMEOUT = 30
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz")
_AGAIN = "the same command goes on where it ended"
_BROKEN = (
    OSError,
    http.client.HTTPException,
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
)


class Stream:
    """The bytes of one file of a source, from offset `start` on; a context that closes it."""

    def __init__(self, file: IO[bytes], *, start: int, where: str, hint: str | None = None) -> None:
        self.file, self.start, self.where, self.hint = file, start, where, hint

    def read(self, size: int) -> bytes:
        """At most `size` bytes, none at the end. Raises UserError that names the file if the source fails."""
        try:
            return self.file.read(size)
        except _BROKEN as error:
            raise UserError(f"the source failed: {error}", where=self.where, hint=self.hint) from error

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


class Source(Protocol):
    """A place that holds index.json and MODEL/FILE."""

    def open(self, name: str, *, offset: int = 0) -> Stream:
        """The bytes of a file, from `offset` on where the source can resume, else from the start."""


class HttpSource:
    """An HTTP(S) base, such as https://host/zoo. Resumes by ranges where the server serves them."""

    def __init__(self, base: str) -> None:
        self.base = base.rstrip("/")

    def open(self, name: str, *, offset: int = 0) -> Stream:
        """See Source. Raises UserError that names the address if it cannot be had."""
        where = f"{self.base}/{name}"
        request = urllib.request.Request(where, headers={"Range": f"bytes={offset}-"} if offset else {})
        try:
            answer = urllib.request.urlopen(request, timeout=_TIMEOUT)
        except urllib.error.HTTPError as error:
            raise UserError(f"answers {error.code} {error.reason}", where=where, hint="is the base right?") from error
        except _BROKEN as error:
            reason = getattr(error, "reason", None) or error
            raise UserError(f"the connection failed: {reason}", where=where, hint=_AGAIN) from error
        return Stream(answer, start=offset if answer.status == 206 else 0, where=where, hint=_AGAIN)


class FolderSource:
    """A folder with the layout of zoo/."""

    def __init__(self, base: Path) -> None:
        self.base = base

    def open(self, name: str, *, offset: int = 0) -> Stream:
        """See Source. Raises UserError that names the file if it is not there."""
        path = self.base / name
        try:
            file = path.open("rb")
            file.seek(offset)
        except OSError as error:
            raise UserError(f"cannot be read: {error.strerror}", where=str(path)) from error
        return Stream(file, start=offset, where=str(path))


class ArchiveSource:
    """A .zip or .tar of such a folder, with or without the folder itself. Members are read, never extracted.

    An archive with an unsafe member (an absolute path, `..`, a link, a device) is refused as a whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.archive: zipfile.ZipFile | tarfile.TarFile
            if zipfile.is_zipfile(path):
                self.archive = zipfile.ZipFile(path)
                entries = [(one.filename, one.is_dir(), _is_zip_file(one)) for one in self.archive.infolist()]
            else:
                self.archive = tarfile.open(path)  # noqa: SIM115, the source's lifetime is the command's
                entries = [(one.name, one.isdir(), one.isreg()) for one in self.archive.getmembers()]
        except _BROKEN as error:
            raise UserError(f"is not an archive that can be read: {error}", where=str(path)) from error
        self.members: dict[str, str] = {}
        root = _root([name for name, is_dir, _ in entries if not is_dir])
        for name, is_dir, is_file in entries:
            inside = name.removeprefix("./").rstrip("/")
            if inside in ("", ".") and is_dir:
                continue
            if not is_plain(inside) or not (is_dir or is_file):
                raise UserError(
                    f"holds {name!r}, which is not a plain file inside it; nothing was taken from it", where=str(path)
                )
            if is_file:
                self.members[inside.removeprefix(root)] = name

    def open(self, name: str, *, offset: int = 0) -> Stream:
        """See Source. Raises UserError that names the member if it is not there or is damaged."""
        where = f"{self.path}: {name}"
        if name not in self.members:
            raise UserError("is not in the archive", where=where)
        try:
            if isinstance(self.archive, zipfile.ZipFile):
                return Stream(self.archive.open(self.members[name]), start=0, where=where)
            member = self.archive.extractfile(self.members[name])
        except _BROKEN as error:
            raise UserError(f"cannot be read: {error}", where=where) from error
        assert member is not None  # only regular files are in the list
        return Stream(member, start=0, where=where)


def open_source(base: str | Path) -> HttpSource | FolderSource | ArchiveSource:
    """The source that `base` names. Raises UserError if it is none."""
    text = str(base)
    if text.startswith(("http://", "https://")):
        return HttpSource(text)
    path = Path(base)
    if path.is_dir():
        return FolderSource(path)
    if path.is_file() and text.lower().endswith(ARCHIVES):
        return ArchiveSource(path)
    raise UserError(
        "is no zoo to fetch from",
        where=text,
        hint=f"give http(s)://..., a folder, or an archive ({', '.join(ARCHIVES)})",
    )


def _is_zip_file(entry: zipfile.ZipInfo) -> bool:
    """Whether a member is a regular file; links and devices show in the mode that Unix zips carry."""
    kind = (entry.external_attr >> 16) & 0o170000
    return not entry.is_dir() and kind in (0, 0o100000)


def _root(names: list[str]) -> str:
    """The folder that holds index.json in an archive, "" or "NAME/"."""
    for name in names:
        path = PurePosixPath(name.removeprefix("./"))
        if path.name == "index.json" and len(path.parts) <= 2:
            return f"{path.parts[0]}/" if len(path.parts) == 2 else ""
    return ""
