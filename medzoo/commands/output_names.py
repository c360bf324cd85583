"""The names of the files that `predict` writes: allotted for a whole run, no two alike, none an input's."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path, PurePath

from medzoo.errors import UserError
from medzoo.escape import replace_unsafe
from medzoo.io.dicom.web import is_dicomweb
from medzoo.io.formats import stem
from medzoo.io.sequences import sequence_files

# What the files of an answer add to the name that it is called by, of any --format and option.
ADDED = (
    ".json", ".png", "_mask.png", "_mask.nii.gz", "_seg.dcm", "_sr.dcm", "_surfaces.glb", "_surfaces.png",
    "_heat.png", "_maps.png",
)  # fmt: skip
_MOST_BYTES = 200  # of a name; file systems take 255, and the file is written under a longer one first


class NameRegistry:
    """Names that were given out, and the files that they stand for; one differs from another by more than its case or
    its Unicode normal form, which some file systems take for the same.

    `added`: what files add to a name. `kept`: files that no name may stand for.
    """

    def __init__(self, *, added: Sequence[str] = ADDED, kept: Iterable[str] = ()) -> None:
        self.added = tuple(added) or ("",)
        self.files = {_folded(PurePath(name)) for name in kept}
        self.folders: set[str] = set()
        self.counts: dict[str, int] = {}

    def files_of(self, name: PurePath) -> set[str]:
        """The files that a name stands for, folded."""
        return {_folded(name.with_name(name.name + one)) for one in self.added}

    def is_free(self, name: PurePath, wanted: frozenset[str] | set[str] = frozenset()) -> bool:
        """True if no file of `name` was given out, or is one of `wanted`, and none is where a folder is needed."""
        files = self.files_of(name)
        clear = files.isdisjoint(self.files) and files.isdisjoint(wanted) and files.isdisjoint(self.folders)
        return clear and self.files.isdisjoint(_folders(name)) and wanted.isdisjoint(_folders(name))

    def take(self, name: PurePath) -> PurePath:
        """Give a name out."""
        self.files |= self.files_of(name)
        self.folders |= _folders(name)
        return name

    def numbered(self, name: PurePath, wanted: frozenset[str] | set[str] = frozenset()) -> PurePath:
        """The name with the first number, from 2 on, with which it is free; given out.

        A folder that has the name of a file, which no number at the end would help, becomes a part of the name.
        """
        if not self.files.isdisjoint(_folders(name)) or not wanted.isdisjoint(_folders(name)):
            name = PurePath("_".join(name.parts))
        key = _folded(name)
        while True:
            self.counts[key] = self.counts.get(key, 1) + 1
            one = name.with_name(f"{name.name}-{self.counts[key]}")
            if self.is_free(one, wanted):
                return self.take(one)


class StreamNames:
    """Names for inputs that come one by one, of which the last is not known when the first is answered.

    An input has its own name, with as many parent folders as tell it from those before it; nothing that is in `out`
    already is written over, since it may be an input that is still to come.
    """

    def __init__(self, out: Path, *, added: Sequence[str] = ADDED, kept: Iterable[str] = ()) -> None:
        self.out, self.book = out, NameRegistry(added=added, kept=kept)

    def name(self, text: str) -> PurePath:
        """The name of the next input. Raises UserError for ""."""
        path = _path(text)
        names = [_last(path, depth) for depth in range(1, len(path.parts) + 1)]
        for name in names:
            if self.book.is_free(name) and not self._is_there(name):
                return self.book.take(name)
        while self._is_there(name := self.book.numbered(names[0])):
            continue
        return name

    def _is_there(self, name: PurePath) -> bool:
        return any(os.path.lexists(self.out / name.with_name(name.name + one)) for one in self.book.added)


def output_names(inputs: Sequence[str], *, added: Sequence[str] = ADDED, kept: Iterable[str] = ()) -> list[PurePath]:
    """A name for each input, relative and without suffix: its own, with as many of its parent folders as are needed to
    tell it from the others; with a number where that is not enough. No file of one name is a file of another.

    `added`: what files add to a name; `kept`: names of files that belong to none of them. Characters that a terminal
    would obey, and bytes that are no UTF-8, become underscores. Raises UserError for "".
    """
    paths = [_path(text) for text in inputs]
    best: list[PurePath] = []
    most = -1
    for depth in range(1, max((len(path.parts) for path in paths), default=1) + 1):
        names = [_last(path, depth) for path in paths]
        if (count := len({_folded(name) for name in names})) > most:
            best, most = names, count
    book = NameRegistry(added=added, kept=kept)
    found: list[PurePath | None] = [book.take(name) if book.is_free(name) else None for name in best]
    # A number must not make a name that another input has by itself.
    wanted = {file for name in best for file in book.files_of(name)}
    return [name if name is not None else book.numbered(own, wanted) for name, own in zip(found, best, strict=True)]


def input_files(text: str) -> list[Path]:
    """The files or folders that one INPUT names: sequences by comma, a series or volume behind a number sign."""
    return [_place(one)[0] for one in sequence_files(text)]


def refuse_overwrite(
    inputs: Iterable[str], bases: Sequence[Path], *, pictures: bool, summaries: Sequence[Path] = ()
) -> None:
    """Refuse to write an answer over one of the files that are read, by whatever path or link.

    `bases`: where the names lead to; `summaries`: further files that are written. Raises UserError.
    """
    added = [one for one in ADDED if pictures or one != ".png"]
    targets = [base.with_name(base.name + one) for base in bases for one in added] + list(summaries)
    real = cache(os.path.realpath)
    written = {Path(real(target.parent)) / target.name for target in targets}
    there = cache(_entries)
    held = {}  # what is there already, by device and inode; a link leads to what it points at
    for place in written:
        if _folded(PurePath(place.name)) in there(place.parent) and (state := _state(place)) is not None:
            held[state] = place
    for text in inputs:
        for one in input_files(text):
            over = Path(os.path.realpath(one)) in written or _state(one) in held
            if over or (one.is_dir() and any(_is_slice(place, one) for place in held.values())):
                way = "choose another -o" + (", or --no-pictures" if one.suffix == ".png" and pictures else "")
                raise UserError("a result would overwrite this input", where=text, hint=way)


def _state(path: Path) -> tuple[int, int] | None:
    """The identity of a file, whatever its name; None if it does not exist."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _entries(folder: Path) -> frozenset[str]:
    try:
        return frozenset(_folded(PurePath(one.name)) for one in folder.iterdir())
    except OSError:
        return frozenset()


def _is_slice(place: Path, folder: Path) -> bool:
    """True if a file lies below the folder of a series and is DICOM."""
    if not place.is_relative_to(os.path.realpath(folder)):
        return False
    try:
        with place.open("rb") as handle:
            return handle.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _place(text: str) -> tuple[Path, str]:
    """A path, and what stands behind a number sign as readers understand it."""
    path = Path(text)
    if "#" in text and not os.path.lexists(path):
        place, _, called = text.rpartition("#")
        if os.path.lexists(place):
            return Path(place), called
    return path, ""


def _path(text: str) -> PurePath:
    """The path that an input is called by, without suffix, in printable characters. Raises UserError for ""."""
    if not text.strip():
        raise UserError("is empty; give a file or a folder", where="INPUT")
    # Sequences of one scan are called as the first of them.
    text = sequence_files(text)[0]
    if is_dicomweb(text):
        # The last dot of a UID begins no suffix, and a series is named behind a number sign.
        path, called = Path(text.replace(".", "-").replace("#", "-")), ""
    else:
        path, called = _place(text)
    # A folder may be named from within: . or ..
    path = path if path.name not in ("", "..") else path.resolve()
    name = (stem(str(path)) if path.name else "root") + (f"#{called}" if called else "")
    parts = [part for part in path.parts[:-1] if part not in (path.anchor, "..", ".")]
    return PurePath(*[_clean(part) for part in (*parts, name)])


def _clean(part: str) -> str:
    """A part of a path as a name of our own: at most 200 bytes of UTF-8, nothing in it is a separator."""
    part = replace_unsafe(unicodedata.normalize("NFC", part)).replace("/", "_").replace("\\", "_")
    part = part.encode()[:_MOST_BYTES].decode(errors="ignore")
    return part if part.strip(". ") else "_"


def _last(path: PurePath, depth: int) -> PurePath:
    return PurePath(*path.parts[-depth:])


def _folded(name: PurePath) -> str:
    return unicodedata.normalize("NFC", str(name)).casefold()


def _folders(name: PurePath) -> set[str]:
    return {_folded(parent) for parent in name.parents if parent.name}
