"""Sources of released models: a web server, a folder or an archive. Nothing from them is trusted.

A source only hands out bytes from an offset on; who asks knows how many there must be, and their digest.
"""

from __future__ import annotations

import http.client
import lzma
import tarfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol
from urllib.parse import urlsplit

from medzoo.artifact.manifest import is_plain_name
from medzoo.errors import UserError

DEADLINE = 3600.0
"""Seconds that all of a fetch may take."""
MIN_RATE = 1000.0
"""Bytes a second that a server must send."""
_WINDOW = 20.0  # seconds over which that is measured, and that one piece is waited for
_READ = 1 << 16
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


class FetchLimits:
    """Limits of a fetch: the total time, and the lowest rate of its server."""

    def __init__(self, *, deadline: float = DEADLINE, min_rate: float = MIN_RATE, window: float = _WINDOW) -> None:
        self.deadline, self.min_rate, self.window = deadline, min_rate, window
        self._end = time.monotonic() + deadline
        self._since, self._bytes = time.monotonic(), 0

    @property
    def wait(self) -> float:
        """Seconds to wait for one piece of bytes."""
        return max(0.1, min(self.window, self._end - time.monotonic()))

    def begin(self) -> None:
        """Begin to measure anew, as for another file. Raises UserError where the deadline has passed."""
        self._since, self._bytes = time.monotonic(), 0
        self.count(0, where="fetch")

    def count(self, size: int, *, where: str) -> None:
        """Note bytes that came. Raises UserError where the deadline has passed, or too few came for a while."""
        now = time.monotonic()
        self._bytes += size
        if now >= self._end:
            raise UserError(
                f"was not fetched within {self.deadline:g} seconds",
                where=where,
                hint=f"raise --deadline; {_AGAIN}",
            )
        spent = now - self._since
        if spent < self.window:
            return
        rate = self._bytes / spent
        if rate < self.min_rate:
            raise UserError(
                f"arrived at {rate:.3g} bytes a second, which is less than {self.min_rate:g}",
                where=where,
                hint=f"lower --min-rate; {_AGAIN}",
            )
        self._since, self._bytes = now, 0


class _HttpStream(Stream):
    """A stream whose every read is held to a pace."""

    def __init__(self, file: http.client.HTTPResponse, *, start: int, where: str, pace: FetchLimits) -> None:
        super().__init__(file, start=start, where=where, hint=_AGAIN)
        self._answer, self._pace = file, pace

    def read(self, size: int) -> bytes:
        """See Stream; what is there already, so that a server which trickles is found out."""
        try:
            piece = self._answer.read1(min(size, _READ))
        except _BROKEN as error:
            raise UserError(f"the source failed: {error}", where=self.where, hint=self.hint) from error
        self._pace.count(len(piece), where=self.where)
        return piece


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows redirects that stay on their host."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        same = new.hostname == old.hostname and (new.port == old.port or new.scheme != old.scheme)
        if new.scheme not in ("http", "https") or (old.scheme == "https" and new.scheme == "http") or not same:
            raise UserError(
                f"redirects to {newurl[:200]!r}, which is on another host; it was not followed",
                where=req.full_url,
                hint="pass that address to --from if you trust it",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class HttpSource:
    """An HTTP(S) base, such as https://host/zoo. Resumes by ranges where the server serves them."""

    def __init__(self, base: str, *, pace: FetchLimits | None = None) -> None:
        self.base = base.rstrip("/")
        self.pace = pace or FetchLimits()
        self._opener = urllib.request.build_opener(_SameHost)

    def open(self, name: str, *, offset: int = 0) -> Stream:
        """See Source. Raises UserError that names the address if it cannot be had, in time and as it is."""
        where = f"{self.base}/{name}"
        self.pace.begin()
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
        try:
            answer = self._request_head(urllib.request.Request(where, headers=headers))
        except urllib.error.HTTPError as error:
            raise UserError(
                f"the server replied {error.code} {error.reason}", where=where, hint="check the address"
            ) from error
        except _BROKEN as error:
            reason = getattr(error, "reason", None) or error
            raise UserError(f"the connection failed: {reason}", where=where, hint=_AGAIN) from error
        encoding = answer.headers.get("Content-Encoding", "identity")
        ranged = answer.headers.get("Content-Range", f"bytes {offset}-")
        if encoding != "identity" or (answer.status == 206 and not ranged.startswith(f"bytes {offset}-")):
            answer.close()
            how = f"in the encoding {encoding!r}" if encoding != "identity" else f"from another place ({ranged!r})"
            raise UserError(f"was sent {how}, but plain bytes were requested", where=where, hint="use another server")
        return _HttpStream(answer, start=offset if answer.status == 206 else 0, where=where, pace=self.pace)

    def _request_head(self, request: urllib.request.Request) -> Any:
        """The answer's head; in a thread of its own, as a server may send that byte by byte too."""
        found: list[Any] = []

        def ask() -> None:
            try:
                found.append(self._opener.open(request, timeout=self.pace.wait))
            except BaseException as error:
                found.append(error)

        thread = threading.Thread(target=ask, name="medzoo-fetch", daemon=True)
        thread.start()
        thread.join(2 * self.pace.wait)
        if not found:
            raise TimeoutError("no answer came in time")
        if isinstance(found[0], BaseException):
            raise found[0]
        return found[0]


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
            raise UserError(f"cannot be read as an archive: {error}", where=str(path)) from error
        self.members: dict[str, str] = {}
        root = _root([name for name, is_dir, _ in entries if not is_dir])
        for name, is_dir, is_file in entries:
            inside = name.removeprefix("./").rstrip("/")
            if inside in ("", ".") and is_dir:
                continue
            if not is_plain_name(inside) or not (is_dir or is_file):
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


def open_source(base: str | Path, *, pace: FetchLimits | None = None) -> HttpSource | FolderSource | ArchiveSource:
    """The source that `base` names; `pace` holds for servers. Raises UserError if it is none."""
    text = str(base)
    if text.startswith(("http://", "https://")):
        return HttpSource(text, pace=pace)
    path = Path(base)
    if path.is_dir():
        return FolderSource(path)
    if path.is_file() and text.lower().endswith(ARCHIVES):
        return ArchiveSource(path)
    raise UserError(
        "is not a source of models",
        where=text,
        hint=f"give http(s)://..., a folder, or an archive ({', '.join(ARCHIVES)})",
    )


def _is_zip_file(entry: zipfile.ZipInfo) -> bool:
    """True if a member is a regular file; links and devices show in the mode that Unix zips carry."""
    kind = (entry.external_attr >> 16) & 0o170000
    return not entry.is_dir() and kind in (0, 0o100000)


def _root(names: list[str]) -> str:
    """The folder that holds index.json in an archive, "" or "NAME/"."""
    for name in names:
        path = PurePosixPath(name.removeprefix("./"))
        if path.name == "index.json" and len(path.parts) <= 2:
            return f"{path.parts[0]}/" if len(path.parts) == 2 else ""
    return ""
