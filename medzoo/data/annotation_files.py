"""Files of annotation tools: JSON and XML read whole and safely, and the picture that a name in them means."""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree

from medzoo.data.file_names import is_hidden
from medzoo.errors import UserError
from medzoo.io.formats import is_image_file

_UTF16 = (b"\xff\xfe", b"\xfe\xff")  # marks


def read_json(path: Path) -> Any:
    """The JSON of a file in UTF-8, or UTF-16 with a mark. Raises UserError."""
    data = _bytes(path)
    try:
        return json.loads(data.decode("utf-16" if data[:2] in _UTF16 else "utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"is not JSON: {error}", str(path)) from None


def read_xml(path: Path, *, what: str) -> ElementTree.Element:
    """The root element of an XML file; `what` it should be, for the error. Raises UserError, also for a document type
    declaration."""
    data = _bytes(path)
    try:
        if data[:2] in _UTF16:
            text = data.decode("utf-16")
        else:
            # The parser knows few encodings, Python many (GBK, Big5, Shift-JIS).
            declared = re.match(rb"<\?xml[^>]*encoding=[\"']([\w.:-]+)[\"']", data.removeprefix(b"\xef\xbb\xbf"))
            text = data.decode(declared[1].decode() if declared else "utf-8-sig").removeprefix("\ufeff")
        text = re.sub(r"^\s*<\?xml[^>]*\?>", "", text)
        # Entities can make a small file huge; annotations have no use for them.
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise UserError("has a document type declaration, which an annotation must not have", str(path))
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise UserError(f"is not {what}: {error}", str(path)) from None


def read_table(path: Path) -> list[list[str]]:
    """The rows of a table with commas, semicolons or tabs between its columns. Raises UserError."""
    try:
        text = _bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError("is not UTF-8 text", str(path), "save it as UTF-8") from None
    head = text.partition("\n")[0]
    return list(csv.reader(text.splitlines(), delimiter=max(",;\t", key=head.count)))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", str(path)) from None


class Pictures:
    """The image files below a folder, found by what an annotation calls them: a path, an URL or a bare name.

    `roots`: folders below `root` that paths may count from, such as images.
    """

    def __init__(self, root: Path, roots: Iterable[str] = ("", "images", "data", "JPEGImages")) -> None:
        self.root, self.roots = root, tuple(roots)
        paths = sorted(path for path in root.rglob("*") if is_image_file(path) and path.is_file())
        self.paths = [path for path in paths if not is_hidden(path, root=root)]
        self._by_name: Mapping[str, list[Path]] = defaultdict(list)
        for path in self.paths:
            self._by_name[path.name].append(path)

    def find(self, name: str, *, where: str, prefixed: bool = False) -> Path:
        """The picture called `name`. `prefixed`: a tool put eight digits and a hyphen before it, or took them off.

        Raises UserError for none, or for several that could be meant.
        """
        below = _plain(name)
        exact = [self.root / start / below for start in self.roots]
        inside = [path for path in exact if path.resolve().is_relative_to(self.root.resolve()) and path.is_file()]
        if inside:
            return inside[0]
        last = PureWindowsPath(below).name
        named = self._by_name.get(last, [])
        if prefixed and not named and len(last) > 9 and last[8] == "-":
            named = self._by_name.get(last[9:], [])
        # The longest common end decides: train/a.png is not test/a.png.
        ends = [path for path in named if path.as_posix().endswith(f"/{below}")] or named
        if len(ends) == 1:
            return ends[0]
        if not ends:
            raise UserError(f"its picture {name!r} does not exist", where, f"looked below {self.root}")
        raise UserError(f"its picture {name!r} could be {ends[0]} or {ends[1]}", where, "give the path below data.root")


def _plain(name: str) -> str:
    """A path of what may be a URL, or Label Studio's /data/local-files/?d=PATH."""
    parts = urlsplit(name) if "://" in name or "?" in name else None
    if parts is not None:
        asked = parse_qs(parts.query)
        name = asked["d"][0] if "d" in asked else unquote(parts.path)
    return name.replace("\\", "/").lstrip("/")


def patient_pattern(pattern: str | None) -> re.Pattern[str] | None:
    """`data.patient` compiled. Raises UserError for what is none, or has no group."""
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(f"is not a regular expression: {error}", "data.patient") from None
    if not compiled.groups:
        raise UserError("has no capture group", "data.patient", "put parentheses around the patient: ^([^_]+)_")
    return compiled


def patient_of(pattern: re.Pattern[str], name: str, where: str) -> str:
    """The patient in a name. Raises UserError for one that does not fit."""
    match = pattern.search(name)
    if match is None or not match[1]:
        raise UserError(f"does not match {pattern.pattern!r}", where, "check data.patient")
    return match[1]
