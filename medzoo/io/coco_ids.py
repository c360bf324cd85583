"""The ids of images and categories in a COCO annotation file, for results that are scored against it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from medzoo.errors import UserError


@dataclass(frozen=True)
class CocoIds:
    """Images by the parts of their file_name, last first; categories by name."""

    where: str
    images: Mapping[tuple[str, ...], Mapping[str, Any]]
    categories: Sequence[Mapping[str, Any]]

    @classmethod
    def read(cls, path: Path, labels: Sequence[str]) -> CocoIds:
        """Read an annotation file. Raises UserError for one that is invalid or lacks one of the model's `labels`."""
        where = str(path)
        try:
            document = json.loads(path.read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise UserError(f"cannot be read: {error.strerror}", where) from error
        except (ValueError, RecursionError) as error:
            raise UserError(f"is not JSON: {error}", where) from None
        rows: dict[str, list[Any]] = {}
        for key, fields in (("images", ("id", "file_name")), ("categories", ("id", "name"))):
            found = document.get(key) if isinstance(document, dict) else None
            whole = isinstance(found, list) and all(isinstance(row, dict) and row.keys() >= {*fields} for row in found)
            if not isinstance(found, list) or not whole:
                raise UserError(f"has no list {key!r} with {' and '.join(fields)} in each", where, "give a COCO file")
            ids = [str(row["id"]) for row in found]
            if len(set(ids)) < len(ids):
                raise UserError(f"two {key} have one id", where, "the results could not be told apart")
            rows[key] = found
        images = {_parts(str(row["file_name"])): row for row in rows["images"]}
        if len(images) < len(rows["images"]):
            raise UserError("two images have one file_name", where, "the results could not be told apart")
        names = [str(row["name"]) for row in rows["categories"]]
        for label in labels:
            if names.count(label) != 1:
                held = f"has {names.count(label)} categories" if label in names else "has no category"
                raise UserError(
                    f"{held} called {label!r}, as the model's label is", where, f"it has {', '.join(names)}"
                )
        return cls(where, images, rows["categories"])

    def category(self, label: str) -> Any:
        """The id of a label's category."""
        return next(row["id"] for row in self.categories if row["name"] == label)

    def image(self, source: str, shape: tuple[int, ...]) -> Mapping[str, Any]:
        """The listed image that `source` is a path to, of `shape` (H, W): its file_name is the end of the path, or it
        alone has the same last name. Raises UserError where there is none, several, or one of another size."""
        parts = _parts(source)
        found = [row for name, row in self.images.items() if parts[: len(name)] == name]
        # The longest says most: val/1.png rather than 1.png.
        found = sorted(found, key=lambda row: len(_parts(str(row["file_name"]))))[-1:]
        found = found or [row for name, row in self.images.items() if name[0] == parts[0]]
        if len(found) != 1:
            why = "is not among the images" if not found else f"could be any of {len(found)} images"
            raise UserError(f"{why} of {self.where}", source, "its path must end in the file_name that is listed")
        row = found[0]
        size = (row.get("height", shape[0]), row.get("width", shape[1]))
        if size != shape:
            listed, have = (f"{width} x {height}" for height, width in (size, shape))
            raise UserError(
                f"is {have} pixels as it is read, {listed} in {self.where}", source, "boxes would be shifted"
            )
        return row


def _parts(name: str) -> tuple[str, ...]:
    """The parts of a path, last first."""
    return tuple(part for part in reversed(PurePosixPath(name).parts) if part not in ("/", "."))
