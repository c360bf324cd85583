"""`csv-manifest`: a table of images, one a row: image, and label or mask; patient and split where they are known."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import get_args

import numpy as np

from medzoo.data.annotation_files import read_table
from medzoo.data.audit.groups import NearGroups, near_duplicate_groups
from medzoo.data.dataset import DataEntry, DataParams, Item, Part, Sample
from medzoo.data.file_names import refuse_hidden
from medzoo.data.sighting import Listing, Sighting
from medzoo.errors import UserError
from medzoo.io import read_image, read_labels

KNOWN = ("image", "label", "mask", "split")


class Params(DataParams):
    """`root`: the .csv file; paths in it are relative to it. Columns: `image`; `label` (classify) or `mask`
    (segment); `split` (train, val or test) if parts are given; every other column is a group by its name, such as
    `patient`."""

    root: Path


class CsvManifest:
    """Items as a table names them. Groups: the table's further columns, "image" and "near-duplicate"."""

    def __init__(self, params: Params, task: str, labels: Sequence[str]) -> None:
        self.path, self.task, self.labels = params.root, task, tuple(labels)

    @cached_property
    def rows(self) -> list[tuple[int, dict[str, str]]]:
        """The rows with their line numbers, blanks taken off. Raises UserError naming the line."""
        where = str(self.path)
        try:
            text = self.path.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise UserError(f"cannot be read: {error.strerror}", where, "data.root must be the .csv file") from None
        except UnicodeDecodeError:
            raise UserError("is not UTF-8 text", where) from None
        table = csv.DictReader(text.splitlines())
        columns = [name.strip() for name in table.fieldnames or []]
        needed = "label" if self.task == "classify" else "mask"
        for name in ("image", needed):
            if name not in columns:
                raise UserError(f"has no column {name!r}; it has {', '.join(columns)}", f"{where}:1")
        found = []
        for line in table:
            if None in line or None in line.values():
                raise UserError("does not have as many columns as the first line", f"{where}:{table.line_num}")
            found.append((table.line_num, {key.strip(): value.strip() for key, value in line.items()}))
        if not found:
            raise UserError("has no rows", where)
        return found

    @cached_property
    def near_duplicates(self) -> dict[str, str]:
        """The near-duplicate group of every image."""
        return near_duplicate_groups({row["image"]: self._file(line, row["image"]) for line, row in self.rows})

    def _file(self, line: int, name: str) -> Path:
        path = self.path.parent / name
        refuse_hidden(Path(name).name if Path(name).is_absolute() else name, f"{self.path}:{line}")
        if not name or not path.is_file():
            raise UserError(f"lists {name!r}, which does not exist", f"{self.path}:{line}")
        return path

    def items(self) -> Sequence[Item]:
        """The rows in their order."""
        items = []
        lines: dict[str, int] = {}
        for line, row in self.rows:
            where, name = f"{self.path}:{line}", row["image"]
            files = {"image": self._file(line, name)}
            # Not resolved: a link is a file of its own, and telling copies is up to the audit.
            if (other := lines.setdefault(os.path.normpath(files["image"]), line)) != line:
                raise UserError(f"lists {name!r}, which line {other} lists as well", where, "give each image one row")
            label = row.get("label", "")
            if self.task == "classify" and label not in self.labels:
                raise UserError(f"the label {label!r} is not one of {', '.join(self.labels)}", where)
            if self.task == "segment":
                files["mask"] = self._file(line, row["mask"])
            part: Part | None = next((p for p in get_args(Part) if p == row.get("split")), None)
            if row.get("split") and part is None:
                raise UserError(f"the split {row['split']!r} is not train, val or test", where)
            groups = {key: value for key, value in row.items() if key not in KNOWN}
            empty = [key for key, value in groups.items() if not value]
            if empty:
                raise UserError(f"the column {empty[0]!r} is empty", where, "fill it in every row")
            known = NearGroups({"image": name, **groups}, name, lambda: self.near_duplicates)
            items.append(Item(name, files, known, label, part))
        return items

    def load(self, item: Item) -> Sample:
        """The image with its class, or with its mask: values are indices into the recipe's labels."""
        image = read_image(item.files["image"])
        if self.task == "classify":
            return Sample(item, image, self.labels.index(item.stratum))
        stored = read_labels(item.files["mask"], like=image).array[0]
        if stored.min() < 0 or stored.max() >= len(self.labels):
            bad = stored.min() if stored.min() < 0 else stored.max()
            raise UserError(f"has the value {bad}, which is not a label", str(item.files["mask"]), "see labels")
        return Sample(item, image, stored.astype(np.uint8))


def _open(params: Params, task: str, labels: Sequence[str]) -> CsvManifest:
    return CsvManifest(params, task, labels)


def recognise(listing: Listing) -> Sighting | None:
    """A table with the columns image, and label or mask."""
    found = []
    for name in listing.sample(listing.matching("*.csv"), 10):
        head, *rows = read_table(listing.path(name)) or [[]]
        names = [column.strip() for column in head]
        if "image" in names and ({"label", "mask"} & set(names)) and not {"x0", "xmin", "x1", "x"} & set(names):
            found.append((name, names, rows))
    if len(found) != 1:
        return None
    ((name, names, rows),) = found
    why = f"{name}: a table of {len(rows)} images"
    if "label" in names:
        labels = {row[names.index("label")].strip() for row in rows if len(row) == len(names)}
        return Sighting(("classify",), tuple(sorted(labels)), why, root=listing.path(name))
    return Sighting(("segment",), ("object",), why, root=listing.path(name))


ENTRY = DataEntry(Params, ("classify", "segment"), _open, recognise=recognise)
