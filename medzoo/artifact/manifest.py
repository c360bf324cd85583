"""Read and check manifest.json, whoever wrote it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medzoo.errors import UserError

MANIFEST = "manifest.json"
DIGEST = "manifest.sha256"
NON_COMMERCIAL = re.compile(r"\bNC\b|non-?commercial", re.IGNORECASE)
"""In the words of a licence; setup.py, which keeps such models out of the wheel, has the same."""
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_PLAIN = re.compile(rf"{_PART}(/{_PART})*")
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_HEX = re.compile(r"[0-9a-f]{64}")
_LARGEST = 16 << 20  # bytes of a manifest: the zoo's have up to 60 kB
_MOST = 10_000  # files
_DIGITS = 400  # of a whole number: Python refuses some thousands, and by another error
_AGAIN = "fetch or train the model again"


class Manifest(dict[str, Any]):
    """The manifest's fields; one that a command needs and the manifest lacks is a UserError that names it."""

    def __init__(self, fields: Mapping[str, Any], *, where: str) -> None:
        super().__init__(fields)
        self._where = where

    def __missing__(self, name: str) -> Any:
        raise UserError(f"has no {name!r}, which this command needs", where=self._where, hint=_AGAIN)


def is_plain_name(name: str) -> bool:
    """Return True if a name in a manifest, index or archive stays inside the folder, on every system."""
    return bool(_PLAIN.fullmatch(name)) and ".." not in name


def is_non_commercial(licence: str) -> bool:
    """Return True if the words of a licence forbid commercial use, as in "CC-BY-NC-SA-4.0"."""
    return bool(NON_COMMERCIAL.search(licence))


def digest_line(raw: bytes) -> bytes:
    """The one line of manifest.sha256, as `sha256sum -c` reads it."""
    return f"{hashlib.sha256(raw).hexdigest()}  {MANIFEST}\n".encode()


def read_manifest(path: Path) -> Manifest:
    """The manifest of the model folder `path`, its own digest checked. Raises UserError in one line."""
    for name in (MANIFEST, DIGEST):
        if not (path / name).is_file():
            inside = sorted(one.parent.name for one in path.glob(f"*/{MANIFEST}"))
            raise UserError(
                f"{name} is missing, so this is not a (complete) model folder",
                where=str(path),
                hint=f"it holds model folders: {', '.join(inside)}" if inside else "medzoo train writes one",
            )
        if (path / name).is_symlink():
            raise UserError("is a link; a regular file was expected", where=str(path / name))
    if (path / MANIFEST).stat().st_size > _LARGEST or (path / DIGEST).stat().st_size > 1000:
        raise UserError("is too large for a manifest", where=str(path / MANIFEST), hint=_AGAIN)
    raw = (path / MANIFEST).read_bytes()
    if (path / DIGEST).read_bytes() != digest_line(raw):
        raise UserError(
            f"{MANIFEST} differs from {DIGEST}: one of the two files was changed or damaged",
            where=str(path / MANIFEST),
            hint=_AGAIN,
        )
    return parse_manifest(raw, where=str(path / MANIFEST))


def parse_manifest(raw: bytes, *, where: str) -> Manifest:
    """The manifest of these bytes. Raises UserError that names the field which is not as it must be."""
    try:
        document = json.loads(
            raw.decode(), object_pairs_hook=_no_duplicate_keys, parse_int=_number, parse_constant=_no_number
        )
    except RecursionError as error:
        raise UserError("is not a manifest: it is nested too deeply", where=where, hint=_AGAIN) from error
    except UnicodeDecodeError as error:
        raise UserError("is not a manifest: it is not UTF-8", where=where, hint=_AGAIN) from error
    except ValueError as error:
        raise UserError(f"is not a manifest: {error}", where=where, hint=_AGAIN) from error
    try:
        _check(document)
    except ValueError as error:
        raise UserError(f"is not the manifest of a model: {error}", where=where, hint=_AGAIN) from error
    return Manifest(document, where=where)


def _check(document: Any) -> None:
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")
    name = document.get("name")
    if not isinstance(name, str) or len(name) > 64 or not _NAME.fullmatch(name):
        raise ValueError("'name' is not lowercase letters, digits and hyphens")
    files = document.get("files")
    if not isinstance(files, dict) or not 0 < len(files) <= _MOST:
        raise ValueError("'files' does not list the files by name")
    for file, facts in files.items():
        if not is_plain_name(file):
            raise ValueError(f"'files' names {file[:100]!r}, which is not a plain file inside the folder")
        if not isinstance(facts, dict) or not {"sha256", "bytes"} <= set(facts):
            raise ValueError(f"'files' gives no 'sha256' and 'bytes' of {file!r}")
        digest, size = facts["sha256"], facts["bytes"]
        if not isinstance(digest, str) or not _HEX.fullmatch(digest):
            raise ValueError(f"the 'sha256' of {file!r} is not 64 hexadecimal digits")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 48:
            raise ValueError(f"the 'bytes' of {file!r} is not the size of a file")
    members = document.get("members", {})
    sound = isinstance(members, dict) and all(
        isinstance(one, dict) and _NAME.fullmatch(str(one.get("name"))) and _HEX.fullmatch(str(one.get("digest")))
        for one in members.values()
    )
    if not sound:
        raise ValueError("'members' does not name models and their digests")
    for field, kind in (("labels", list), ("metrics", dict), ("precisions", dict), ("split", dict), ("data", dict)):
        if field in document and not isinstance(document[field], kind):
            raise ValueError(f"{field!r} is not a JSON {'array' if kind is list else 'object'}")


def _no_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are each given once."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("it gives a key of an object twice")
    return found


def _number(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError(f"it holds a number of {len(text)} digits")
    return int(text)


def _no_number(text: str) -> float:
    raise ValueError(f"it holds {text}, which is not a JSON number")
