"""`coco`: boxes of a COCO instances file (Lin et al., 2014): images, annotations with bbox, categories."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field

from medzoo.data.dataset import DataEntry, DataParams, Item, Part, Sample
from medzoo.data.objects import checked_objects
from medzoo.data.prints import NearGroups, near_duplicate_groups
from medzoo.data.volumes import inside
from medzoo.errors import UserError
from medzoo.io import read_image


class Params(DataParams):
    """Where the files lie: one file that the recipe splits, or one a part, which then are the parts."""

    root: Path = Field(description="folder that the annotation files and the images lie below")
    annotations: dict[Part, str] | str = Field(
        default="annotations.json", description="file below the root; or a file for each of train, val and test"
    )
    images: dict[Part, str] | str = Field(
        default="images", description="folder of the images below the root, or one a part"
    )
    group: str | None = Field(
        default=None, description="field of the images that names the patient, such as patient_id"
    )
    crowds: bool = Field(
        default=False, description="take boxes around crowds (iscrowd) as objects; else they are left out"
    )
    clip: bool = Field(
        default=False, description="cut boxes to the image instead of refusing; drop those that are then empty"
    )


class Coco:
    """COCO boxes: bbox [x, y, width, height] in continuous coordinates, so the half-open box is
    [x, y, x + width, y + height]. Groups are "image", "near-duplicate" and, with `group`, "patient"."""

    def __init__(self, params: Params, labels: Sequence[str]) -> None:
        self.params, self.labels = params, tuple(labels)
        if isinstance(params.annotations, dict) and not params.annotations:
            raise UserError("names no file", "data.annotations")

    @cached_property
    def found(self) -> dict[str, tuple[Item, list[Any], str]]:
        """By id: the item, its annotations, and the file that they are in."""
        given = self.params.annotations
        files: list[tuple[Part | None, str]] = [*given.items()] if isinstance(given, dict) else [(None, given)]
        result: dict[str, tuple[Item, list[Any], str]] = {}
        for part, name in files:
            for item, rows, where in self._read(inside(self.params.root, name, "data.annotations"), part):
                if item.id in result:
                    raise UserError(f"the image {item.id!r} is listed twice", where)
                result[item.id] = (item, rows, where)
        return result

    def _read(self, path: Path, part: Part | None) -> list[tuple[Item, list[Any], str]]:
        document, where = _document(path), str(path)
        names = {_field(row, "id", where): str(_field(row, "name", where)) for row in document["categories"]}
        unknown = sorted(set(names.values()) - set(self.labels))
        folder = self.params.images if isinstance(self.params.images, str) else self.params.images.get(part or "train")
        if folder is None:
            raise UserError(f"names no folder for {part}", "data.images")
        rows: dict[Any, list[Any]] = {_field(row, "id", where): [] for row in document["images"]}
        for row in document["annotations"]:
            number, kind = _field(row, "image_id", where), _field(row, "category_id", where)
            if number not in rows:
                raise UserError(f"annotation {row.get('id')} is of image {number}, which is not listed", where)
            if kind not in names:
                raise UserError(f"annotation {row.get('id')} is of category {kind}, which is not listed", where)
            if names[kind] in unknown:
                raise UserError(f"the label {names[kind]!r} is not one of {', '.join(self.labels)}", where)
            if self.params.crowds or not row.get("iscrowd"):
                rows[number].append((names[kind], _field(row, "bbox", where), row.get("id")))
        items = []
        for row in document["images"]:
            name = str(_field(row, "file_name", where))
            ident = f"{part}/{name}" if part else name
            groups = {"image": ident}
            if self.params.group is not None:
                groups["patient"] = str(_field(row, self.params.group, where))
            file = inside(self.params.root, f"{folder}/{name}", where)
            item = Item(ident, {"image": file}, NearGroups(groups, ident, lambda: self.near), part=part)
            items.append((item, rows[row["id"]], where))
        return items

    @cached_property
    def near(self) -> dict[str, str]:
        """The near-duplicate group of every image."""
        return near_duplicate_groups({name: item.files["image"] for name, (item, _, _) in self.found.items()})

    def items(self) -> Sequence[Item]:
        """Every listed image, by part and name; those without an annotation are images without an object."""
        return [self.found[name][0] for name in sorted(self.found)]

    def load(self, item: Item) -> Sample:
        """The image with its objects. Raises UserError that names the annotation for a box that cannot be."""
        image = read_image(item.files["image"], kind="picture")
        height, width = image.shape
        boxes, numbers = [], []
        _, rows, where = self.found[item.id]
        for label, box, ident in rows:
            place = f"{where}: annotation {ident} of {item.id}"
            if not isinstance(box, list) or len(box) != 4 or not all(_is_number(v) for v in box):
                raise UserError(f"its bbox is {box!r}, not [x, y, width, height]", place)
            x, y, w, h = map(float, box)
            corners = [x, y, x + w, y + h]
            if self.params.clip:
                corners = [max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)]
                if corners[2] <= corners[0] or corners[3] <= corners[1]:
                    continue
            checked_objects([corners], [0], image.shape, place)
            boxes.append(corners)
            numbers.append(self.labels.index(label))
        return Sample(item, image, checked_objects(boxes, numbers, image.shape, where))


def _document(path: Path) -> Any:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"is not JSON: {error}", str(path)) from None
    for key in ("images", "annotations", "categories"):
        if not isinstance(document, dict) or not isinstance(document.get(key), list):
            raise UserError(f"has no list {key!r}", str(path), "a COCO file has images, annotations, categories")
    return document


def _field(row: Any, name: str, where: str) -> Any:
    if not isinstance(row, dict) or name not in row:
        raise UserError(f"an entry has no {name!r}: {str(row)[:60]}", where)
    return row[name]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _open(params: Params, task: str, labels: Sequence[str]) -> Coco:
    return Coco(params, labels)


ENTRY = DataEntry(Params, ("detect",), _open, image="picture")
