"""`csv-boxes`: a table of boxes, one a row, whatever its columns are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Literal, get_args

from pydantic import Field

from medzoo.data.annotated import Annotated, AnnotatedParams, AnnotatedPictures, Shape
from medzoo.data.annotation_files import Pictures, read_table
from medzoo.data.dataset import DataEntry, Part
from medzoo.data.picture_size import Size, stated_size
from medzoo.data.sighting import Listing, Sighting
from medzoo.errors import UserError

Column = Literal["image", "x0", "y0", "x1", "y1", "width", "height", "label", "patient", "split", "columns", "rows"]

# What each column is called, in the order of preference; case, blanks and underscores do not count.
CALLED: Mapping[str, tuple[str, ...]] = {
    "image": ("image", "filename", "file", "imagename", "imageid", "imagepath", "path", "filepath", "name", "id"),
    "x0": ("x0", "xmin", "x1", "left", "xtl", "bboxxmin", "x"),
    "y0": ("y0", "ymin", "y1", "top", "ytl", "bboxymin", "y"),
    "x1": ("xmax", "x2", "x1", "right", "xbr", "bboxxmax"),
    "y1": ("ymax", "y2", "y1", "bottom", "ybr", "bboxymax"),
    "width": ("boxwidth", "bboxwidth", "w", "width"),
    "height": ("boxheight", "bboxheight", "h", "height"),
    "label": ("label", "class", "classname", "category", "finding", "type"),
    "patient": ("patient", "patientid", "case", "subject", "subjectid", "study"),
    "split": ("split", "set", "part", "subset"),
    "columns": ("imagewidth", "imgwidth", "columns"),
    "rows": ("imageheight", "imgheight", "rows"),
}
_WITHOUT_HEAD = ("image", "x0", "y0", "x1", "y1", "label")  # keras-retinanet's table, which has no first line


class Params(AnnotatedParams):
    """Parameters of `csv-boxes`: the folder, the table, and its columns."""

    table: str = Field(description="the .csv file below the root")
    columns: dict[Column, str] = Field(
        default_factory=dict, description="what the table calls image, x0, y0, x1, y1 (or width, height), label, ..."
    )


class CsvBoxes(AnnotatedPictures):
    """Boxes are two corners, or a corner and a size. A row whose numbers are all empty is a picture without an object;
    pictures that have no row are left out. Without a column of labels every box has the only label.

    Groups are also "patient", and the parts those of a column split, where there is one."""

    params: Params

    @cached_property
    def rows(self) -> list[tuple[int, dict[str, str]]]:
        """The rows with their line numbers, by medzoo's names of the columns. Raises UserError."""
        path = self.params.root / self.params.table
        where = str(path)
        lines = read_table(path)
        if not lines or not any(lines):
            raise UserError("has no rows", where)
        first, columns = 1, columns_of(lines[0])
        given = {name: _place(lines[0], text, where) for name, text in self.params.columns.items()}
        if not given and _is_row(lines[0]):
            first, columns = 0, {name: k for k, name in enumerate(_WITHOUT_HEAD)}
        columns |= {str(name): place for name, place in given.items()}
        missing = [name for name in ("image", "x0", "y0") if name not in columns]
        if not {"x1", "y1"} <= set(columns) and not {"width", "height"} <= set(columns):
            missing += ["x1 and y1, or width and height"]
        if missing:
            text = f"no column is {missing[0]}; it has {', '.join(lines[0])}"
            raise UserError(text, f"{where}:1", "set data.columns: {x0: NAME, ...}")
        found = []
        for number, line in enumerate(lines[first:], first + 1):
            if not any(line):
                continue
            if len(line) < len(lines[0]):
                raise UserError("does not have as many columns as the first line", f"{where}:{number}")
            found.append((number, {name: line[place].strip() for name, place in columns.items()}))
        return found

    def read(self) -> Iterable[Annotated]:
        pictures, table = Pictures(self.params.root), self.params.root / self.params.table
        by_image: dict[str, list[tuple[int, dict[str, str]]]] = {}
        for number, row in self.rows:
            by_image.setdefault(row["image"], []).append((number, row))
        for name, rows in by_image.items():
            where = f"{table}:{rows[0][0]}"
            image = pictures.find(name, where=where)
            shapes = tuple(s for number, row in rows if (s := self._shape(number, row, str(table))) is not None)
            facts = {key: self._one(rows, key, str(table)) for key in ("patient", "split") if key in rows[0][1]}
            part: Part | None = next((p for p in get_args(Part) if p == facts.get("split")), None)
            if facts.get("split") and part is None:
                raise UserError(f"the split {facts['split']!r} is not train, val or test", where)
            groups = {"patient": facts["patient"]} if facts.get("patient") else {}
            ident = image.relative_to(self.params.root).as_posix()
            size = self._size(rows[0][1], where)
            yield Annotated(ident, image, shapes, where, size=size, part=part, groups=groups)

    def _shape(self, number: int, row: Mapping[str, str], table: str) -> Shape | None:
        corners = ("x0", "y0", "x1", "y1") if "x1" in row and "y1" in row else ("x0", "y0", "width", "height")
        texts = [row[name] for name in corners]
        if not any(text for text in texts if text.lower() not in ("nan", "none", "-1")):
            return None
        try:
            x0, y0, x1, y1 = map(float, texts)
        except ValueError:
            raise UserError(f"the box is {', '.join(texts)}", f"{table}:{number}", "write four numbers") from None
        label = row.get("label") or (self.first_labels[0] if "label" not in row and len(self.first_labels) == 1 else "")
        if not label:
            raise UserError("the row has no label", f"{table}:{number}", "set data.columns: {label: NAME}")
        far = (x0 + x1, y0 + y1) if corners[2] == "width" else (x1, y1)
        return Shape(label, f"line {number}", box=(x0, y0, *far))

    @staticmethod
    def _one(rows: Sequence[tuple[int, Mapping[str, str]]], key: str, table: str) -> str:
        """The values that all rows of a picture share. Raises UserError where they differ."""
        values = {row[key] for _, row in rows}
        if len(values) > 1:
            raise UserError(f"a picture has two values of {key}: {', '.join(sorted(values))}", f"{table}:{rows[0][0]}")
        return values.pop()

    @staticmethod
    def _size(row: Mapping[str, str], where: str) -> Size | None:
        if "columns" in row and "rows" in row:
            return stated_size(row["columns"], row["rows"], where)
        # With two corners, width and height are the picture's, as in TensorFlow's tables.
        corners = "x1" in row and "y1" in row and "width" in row and "height" in row
        return stated_size(row["width"], row["height"], where) if corners else None


def columns_of(names: Sequence[str]) -> dict[str, int]:
    """The place of each column that its name gives away."""
    plain = ["".join(c for c in name.lower() if c.isalnum()) for name in names]
    found: dict[str, int] = {}
    two = {"x2", "xmax", "right", "xbr"} & set(plain)
    for column, called in CALLED.items():
        # x1 is the first corner beside x2, and the second one beside x0 or xmin.
        usable = [one for one in called if not (column in ("x1", "y1") and one in ("x1", "y1") and two)]
        place = next(
            (plain.index(one) for one in usable if one in plain and plain.index(one) not in found.values()), None
        )
        if place is not None:
            found[column] = place
    return found


def _is_row(line: Sequence[str]) -> bool:
    """True for a first line that is already one of boxes: six columns, the four in the middle numbers or empty."""
    return len(line) == 6 and all(not text or text.lstrip("-").replace(".", "", 1).isdigit() for text in line[1:5])


def _place(names: Sequence[str], text: str, where: str) -> int:
    if text not in names:
        raise UserError(f"has no column {text!r}; it has {', '.join(names)}", f"{where}:1", "check data.columns")
    return list(names).index(text)


def recognise(listing: Listing) -> Sighting | None:
    """A table with an image and the corners of a box in its columns."""
    found = []
    for name in listing.sample(listing.matching("*.csv", "*.tsv"), 10):
        with suppress(UserError):
            rows = read_table(listing.path(name))
            columns = columns_of(rows[0]) if rows else {}
            if {"image", "x0", "y0"} <= set(columns) or (rows and _is_row(rows[0]) and rows[0][1]):
                found.append(name)
    if not found or not listing.pictures:
        return None
    if len(found) > 1:
        raise UserError(f"has several tables of boxes: {', '.join(found)}", str(listing.root), "name one of them")
    path = listing.path(found[0])
    data = CsvBoxes(Params(root=path.parent, table=path.name), "detect", ("object",))
    labels = tuple(sorted({row["label"] for _, row in data.rows if row.get("label")})) or ("object",)
    why = f"{found[0]}: {len(data.rows)} rows of boxes, {len(labels)} labels"
    return Sighting(("detect",), labels, why, {"table": path.name}, path.parent)


ENTRY = DataEntry(Params, ("detect",), CsvBoxes, image="picture", recognise=recognise)
