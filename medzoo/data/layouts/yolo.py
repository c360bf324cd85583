"""`yolo`: boxes and polygons of Ultralytics' text files: a class number and shares of width and height in each line.

`labels/NAME.txt` beside `images/NAME.png`; a data.yaml names the classes and the parts (docs.ultralytics.com/datasets).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml
from pydantic import Field

from medzoo.data.annotated import Annotated, AnnotatedParams, AnnotatedPictures, Shape, ring
from medzoo.data.dataset import DataEntry, Note, Part
from medzoo.data.file_names import is_hidden
from medzoo.data.sighting import Listing, Sighting
from medzoo.errors import UserError
from medzoo.io.formats import FORMATS, suffix

PARTS: Mapping[str, Part] = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_SUFFIXES = {ending for f in FORMATS if f.name == "picture" for ending in f.suffixes}
_BEYOND = 0.01  # share of the picture by which rounding may carry a coordinate out of it
_NAMED = 3  # files that a note names


class Params(AnnotatedParams):
    """Parameters of `yolo`: the folder, and the file that describes it."""

    description: str | None = Field(
        default=None,
        description="the YAML file below the root; absent: its only one, such as data.yaml, if there is one",
    )
    names: tuple[str, ...] = Field(
        default=(), description="classes in the order of their numbers, where neither data.yaml nor classes.txt says"
    )


class Yolo(AnnotatedPictures):
    """A line is `class x y width height` (of the box: centre and size) or `class x y x y x y ...` (a polygon).

    A picture without a text file has no object. Parts are those of data.yaml, or folders named train, val and test.
    """

    params: Params

    @cached_property
    def described(self) -> tuple[Path, Mapping[str, Any]] | None:
        """The YAML file and what it says; None where there is none. Raises UserError."""
        root, name = self.params.root, self.params.description
        if name is None:
            found = [p for p in sorted(root.glob("*.y*ml")) if not is_hidden(p.name) and "names" in _yaml(p)]
            if len(found) > 1:
                files = ", ".join(p.name for p in found)
                raise UserError(f"has several descriptions: {files}", str(root), "choose one by data.description")
            return (found[0], _yaml(found[0])) if found else None
        path = root / name
        if not path.is_file():
            raise UserError("no such file", str(path), "check data.description")
        return path, _yaml(path)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Classes in the order of their numbers. Raises UserError where nothing says."""
        if self.params.names:
            return self.params.names
        if self.described is not None:
            return yolo_names(self.described[1], str(self.described[0]))
        for name in ("classes.txt", "labels/classes.txt", "obj.names"):
            path = self.params.root / name
            if path.is_file():
                return tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip())
        hint = "write data.yaml with names, or set data.names"
        raise UserError("neither data.yaml nor classes.txt names the classes", str(self.params.root), hint)

    @cached_property
    def pictures(self) -> dict[Path, Part | None]:
        """The pictures with their parts. Raises UserError for none, or one in two parts."""
        found: dict[Path, Part | None] = {}
        for path, part in self._listed():
            if path in found and found[path] != part:
                raise UserError(f"is in {found[path]} and in {part}", str(path), "list each picture in one part")
            found[path] = part
        if not found:
            raise UserError("holds no pictures", str(self.params.root), "YOLO data have images/ and labels/")
        return found

    def read(self) -> Iterable[Annotated]:
        any_labels = False
        for path, part in self.pictures.items():
            text = _label_file(path)
            any_labels |= text.is_file()
            ident = _below(path, self.params.root)
            files = {"annotation": text} if text.is_file() else {}
            shapes = tuple(self._shapes(text)) if text.is_file() else ()
            yield Annotated(ident, path, shapes, str(text), relative=True, part=part, files=files)
        if not any_labels:
            example = _label_file(next(iter(self.pictures)))
            raise UserError("no picture has a text file of labels", str(self.params.root), f"looked for {example}")

    def notes(self) -> list[Note]:
        """Text files without a picture, and parts of data.yaml that are not there."""
        known = {_label_file(path) for path in self.pictures}
        folders = {path.parent for path in known}
        texts = [p for folder in sorted(folders) if folder.is_dir() for p in sorted(folder.glob("*.txt"))]
        alone = [p.name for p in texts if p not in known and p.name != "classes.txt" and not is_hidden(p.name)]
        notes = []
        if alone:
            shown = ", ".join(alone[:_NAMED]) + (", ..." if len(alone) > _NAMED else "")
            notes.append(Note("unlisted", f"{len(alone)} text files have no picture: {shown}"))
        for key, value in self._absent:
            notes.append(
                Note("unlisted", f"{key} is {value}, which is not there", str(self.described and self.described[0]))
            )
        return notes

    @cached_property
    def _absent(self) -> list[tuple[str, str]]:
        """Parts that data.yaml names and that do not exist."""
        if self.described is None:
            return []
        base, document = self._base(), self.described[1]
        entries = [(key, str(e)) for key in PARTS for e in _entries(document.get(key))]
        return [(key, entry) for key, entry in entries if _place(base, entry) is None]

    def _base(self) -> Path:
        assert self.described is not None
        path, document = self.described
        stated = document.get("path")
        if isinstance(stated, str) and stated:
            for candidate in (path.parent / stated, Path(stated)):
                if candidate.is_dir():
                    return candidate
        return path.parent

    def _listed(self) -> Iterator[tuple[Path, Part | None]]:
        if self.described is None or not any(key in self.described[1] for key in PARTS):
            for path in _pictures(self.params.root):
                parts = [PARTS[name] for name in path.relative_to(self.params.root).parts[:-1] if name in PARTS]
                yield path, parts[0] if parts else None
            return
        where, document = str(self.described[0]), self.described[1]
        base = self._base()
        for key, part in PARTS.items():
            for entry in _entries(document.get(key)):
                place = _place(base, str(entry))
                if place is None and part == "train":
                    raise UserError(
                        f"{key} is {entry}, which is not there", where, "paths count from the file's folder"
                    )
                if place is not None:
                    yield from ((path, part) for path in _members(place, base))

    def _shapes(self, path: Path) -> Iterator[Shape]:
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise UserError("is not UTF-8 text", str(path)) from None
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f"{path}:{number}"
            try:
                kind, *values = map(float, line.split())
            except ValueError:
                raise UserError(
                    f"{line.strip()[:60]!r} is not a row of numbers", where, "class x y width height"
                ) from None
            if not kind.is_integer() or not 0 <= kind < len(self.names):
                have = f"{len(self.names)} names, numbered from 0"
                raise UserError(f"the class {kind:g} has no name: there are {have}", where, "check names in data.yaml")
            if min(values, default=0) < -_BEYOND or max(values, default=0) > 1 + _BEYOND:
                raise UserError(
                    "coordinates lie beyond 0 to 1", where, "they are shares of width and height, not pixels"
                )
            label, place = self.names[int(kind)], f"line {number}"
            if len(values) == 4:
                x, y, w, h = values
                yield Shape(label, place, box=(x - w / 2, y - h / 2, x + w / 2, y + h / 2))
            elif len(values) == 5:
                raise UserError("has six numbers: the sixth is the score of a prediction", where, "give labels")
            else:
                yield Shape(label, place, rings=(np.clip(ring(values, place, str(path)), 0, 1),))


def yolo_names(document: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """The names of a data.yaml, a list or a mapping from numbers. Raises UserError."""
    if "kpt_shape" in document:
        raise UserError("describes key points, which are no task of medzoo", where, "give boxes or polygons")
    names = document.get("names")
    if isinstance(names, dict) and sorted(names, key=str) == sorted(range(len(names)), key=str):
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names or len(set(map(str, names))) < len(names):
        raise UserError("names is not a list of different class names, nor a mapping from 0, 1, ...", where)
    return tuple(map(str, names))


def _yaml(path: Path) -> Mapping[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"is not YAML: {' '.join(str(error).split())[:120]}", str(path)) from None
    return document if isinstance(document, dict) else {}


def _entries(value: Any) -> list[Any]:
    return [] if value in (None, "") else value if isinstance(value, list) else [value]


def _place(base: Path, entry: str) -> Path | None:
    """The path of an entry of data.yaml; Roboflow writes ../train/images for what lies beside the file."""
    stripped = entry
    while stripped.startswith("../"):
        stripped = stripped[3:]
    return next((base / one for one in (entry, stripped) if (base / one).exists()), None)


def _members(place: Path, base: Path) -> Iterator[Path]:
    """Pictures of a folder, or those that a text file lists."""
    if place.is_dir():
        yield from _pictures(place)
        return
    for number, line in enumerate(place.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not (name := line.strip()):
            continue
        path = next((p for p in (base / name, place.parent / name) if p.is_file()), None)
        if path is None:
            raise UserError(f"lists {name!r}, which does not exist", f"{place}:{number}")
        yield path


def _pictures(folder: Path) -> list[Path]:
    paths = sorted(p for p in folder.rglob("*") if suffix(p) in _SUFFIXES and p.is_file())
    return [p for p in paths if not is_hidden(p, root=folder)]


def _label_file(path: Path) -> Path:
    """labels/NAME.txt for images/NAME.png, NAME.txt beside a picture in another folder."""
    parts = list(path.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _below(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def recognise(listing: Listing) -> Sighting | None:
    """A data.yaml with names, or text files of numbers beside pictures."""
    yamls = [n for n in listing.matching("*.yaml", "*.yml") if "names" in _yaml(listing.path(n))]
    yamls = [n for n in yamls if n.count("/") == min(one.count("/") for one in yamls)]
    described = yamls[0] if len(yamls) == 1 else None
    root = listing.path(described).parent if described else listing.root
    texts = [n for n in listing.files if n.endswith(".txt") and ("labels/" in f"/{n}" or _has_picture(listing, n))]
    rows = [row for n in listing.sample(texts) for row in listing.path(n).read_text(errors="replace").splitlines()]
    numbers = [row.split() for row in rows if row.strip()]
    lines = [row for row in numbers if len(row) >= 5 and all(_is_number(value) for value in row)]
    if not lines or len(lines) < 0.9 * len(numbers):
        return None
    if len(yamls) > 1:
        files = ", ".join(yamls[:3])
        raise UserError(
            f"has several descriptions: {files}", str(listing.root), "name one of them in place of the folder"
        )
    params: dict[str, Any] = {} if described is None else {"description": PurePosixPath(described).name}
    names = Yolo(Params(root=root, **params), "detect", ()).names
    polygons = sum(len(row) > 6 for row in lines)
    outlined = polygons > 0.9 * len(lines)
    what = "polygons" if outlined else "boxes"
    why = f"{described or 'text files beside pictures'}: {len(names)} classes, {len(texts)} text files of {what}"
    return Sighting(("detect", "segment") if outlined else ("detect",), names, why, params, root)


def _has_picture(listing: Listing, name: str) -> bool:
    return any(f"{name.removesuffix('.txt')}{ending}" in listing.file_set for ending in _SUFFIXES)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


ENTRY = DataEntry(Params, ("detect", "segment"), Yolo, image="picture", recognise=recognise)
