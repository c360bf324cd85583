"""Bearer tokens (RFC 6750) of clients, from a file that may change while the server runs.

One client per line: `name:sha256$SALT$DIGEST`, with the SHA-256 of the salt's bytes and the token's (both written in
hexadecimal), or `name:token` in plain text; `#` begins a comment. Two lines of one name let a client change its token.
Tokens are drawn from 256 random bits, so one round of a fast hash keeps them as well as a slow one would.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medzoo.errors import UserError
from medzoo.io.atomic import atomic_path
from medzoo.serve.logs import log

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HASHED = re.compile(r"sha256\$([0-9a-f]{16,128})\$([0-9a-f]{64})")
_TOKEN = re.compile(r"[!-~]{1,512}")
_SINGLE = "token"
_MOST_BYTES = 1 << 20
_SETTLED = 1.0  # seconds after which a change of a file shows in its times, whatever its file system rounds them to


@dataclass(frozen=True)
class Entry:
    """A client's name and the salted digest of its token."""

    name: str
    salt: bytes
    digest: bytes


class Tokens:
    """Tokens of the clients that may use the server.

    `path`: a file of tokens. `single`: one more token, of a client called "token". Raises UserError if the file cannot
    be used at the start. Later, a file that cannot be used leaves the tokens as they were, and is logged; one without
    any token locks every client out.
    """

    def __init__(self, path: Path | None = None, *, single: str | None = None) -> None:
        self._path = path
        self._single = [] if single is None else [hashed(_SINGLE, single)]
        # Tokens that were found, by a digest under a key of this process: most requests hash once.
        self._key = os.urandom(32)
        self._found: dict[bytes, str] = {}
        self._entries: list[Entry] = list(self._single)
        self._mark: object = None
        if path is not None:
            entries, self._mark = _read(path)
            if not entries:
                raise UserError(
                    "the file contains no token", where=str(path), hint=f"medzoo token NAME --tokens {path}"
                )
            self._entries += entries

    def client(self, token: str) -> str | None:
        """Return the name of the client with this token; None if it is unknown."""
        self._reload()
        raw = token.encode("utf-8", "surrogatepass")
        key = hashlib.blake2b(raw, key=self._key, digest_size=32).digest()
        if key in self._found:
            return self._found[key]
        name = None
        for entry in self._entries:  # all of them, so that the time does not tell which one was close
            if hmac.compare_digest(hashlib.sha256(entry.salt + raw).digest(), entry.digest):
                name = entry.name
        if name is not None:
            self._found[key] = name
        return name

    def _reload(self) -> None:
        if self._path is None or _mark_of(self._path) == self._mark:
            return
        try:
            entries, self._mark = _read(self._path)
        except UserError as error:
            mark = _mark_of(self._path)
            if mark != self._mark:
                words = "; ".join(fault.message for fault in error.faults)
                log("token file invalid, keeping the previous tokens", level=logging.ERROR, reason=words)
            self._mark = mark
            return
        changed = [*self._single, *entries] != self._entries
        self._entries = [*self._single, *entries]
        self._found.clear()
        if changed:
            log("tokens reloaded", clients=len({entry.name for entry in self._entries}))


def hashed(name: str, token: str, *, salt: bytes | None = None) -> Entry:
    """Hash a client's token with its own salt."""
    salt = os.urandom(16) if salt is None else salt
    return Entry(name, salt, hashlib.sha256(salt + token.encode()).digest())


def add_token(name: str, path: Path | None = None) -> tuple[str, str]:
    """Make a token for the client `name`; return it and its line for a token file, appended to `path` if given.

    Raises UserError for an invalid name or file.
    """
    if not NAME.fullmatch(name):
        raise UserError(
            f"{name[:80]!r} is not a valid client name",
            hint="use 1 to 64 letters, digits, '.', '_' or '-', a letter or digit first",
        )
    token = secrets.token_urlsafe(32)
    entry = hashed(name, token)
    line = f"{name}:sha256${entry.salt.hex()}${entry.digest.hex()}"
    if path is not None:
        before = _text(path)[0] if path.exists() else ""
        parse_tokens(before, where=str(path))
        _write(path, [*before.splitlines(), line])
    return token, line


def revoke_tokens(name: str, path: Path) -> int:
    """Remove all tokens of the client `name` from a file; return their number. Raises UserError if there are none."""
    text = _text(path)[0]
    parse_tokens(text, where=str(path))
    lines = text.splitlines()
    kept = [line for line in lines if line.strip().partition(":")[0] != name]
    if len(kept) == len(lines):
        raise UserError(f"no token for {name[:80]!r}", where=str(path))
    _write(path, kept)
    return len(lines) - len(kept)


def parse_tokens(text: str, *, where: str) -> list[Entry]:
    """Parse a token file. Raises UserError that names the line but does not quote it."""
    entries: list[Entry] = []
    plain: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        place = f"{where}:{number}"
        name, colon, token = line.partition(":")
        if not colon or not NAME.fullmatch(name) or not _TOKEN.fullmatch(token):
            raise UserError("not a client name and a token", where=place, hint="as in name:token")
        if token.startswith("sha256$"):
            match = _HASHED.fullmatch(token)
            if match is None or len(match[1]) % 2:
                raise UserError("not a salted digest", where=place, hint="as in name:sha256$SALT$DIGEST")
            entries.append(Entry(name, bytes.fromhex(match[1]), bytes.fromhex(match[2])))
            continue
        if plain.setdefault(token, name) != name:
            raise UserError("two clients share this token", where=place, hint="give each client its own")
        entries.append(hashed(name, token, salt=hashlib.sha256(name.encode()).digest()[:16]))
    return entries


def _read(path: Path) -> tuple[list[Entry], object]:
    text, status = _text(path)
    # A file that changed a moment ago may change again without a new time: it is read again next time.
    settled = time.time() - status.st_mtime > _SETTLED
    return parse_tokens(text, where=str(path)), _mark(status) if settled else None


def _text(path: Path) -> tuple[str, os.stat_result]:
    """Read a token file; return its text and status. Raises UserError if it is unreadable or not private."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            raw = file.read(_MOST_BYTES + 1)
        text = raw.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UserError(f"cannot read the token file: {words}", where=str(path)) from error
    if len(raw) > _MOST_BYTES:
        raise UserError(f"not a token file: it is larger than {_MOST_BYTES} bytes", where=str(path))
    require_private(path, status)
    return text, status


def require_private(path: Path, status: os.stat_result) -> None:
    """Raise UserError if every user of this machine can read or write a file of secrets."""
    if sys.platform != "win32" and status.st_mode & (stat.S_IROTH | stat.S_IWOTH):
        raise UserError(
            "every user of this machine can read or change this file", where=str(path), hint=f"chmod 600 {path}"
        )


def _write(path: Path, lines: Sequence[str]) -> None:
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o600
    with atomic_path(path) as beside:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
        beside.chmod(mode)


def _mark(status: os.stat_result) -> object:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _mark_of(path: Path) -> object:
    try:
        return _mark(path.stat())
    except OSError as error:
        return error.errno
