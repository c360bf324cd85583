"""`coco`: boxes of a COCO instances file (Lin et al., 2014): images, annotations with bbox, categories."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pydantic import Field

from medzoo.data.audit.groups import NearGroups, near_duplicate_groups
from medzoo.data.coco_segmentation import segmentation_mask
from medzoo.data.dataset import DataEntry, DataParams, IgnoredObjects, Item, Note, Part, Sample
from medzoo.data.file_names import refuse_hidden
from medzoo.data.instances import stack_layers
from medzoo.data.objects import ROUNDING, checked_objects
from medzoo.data.picture_size import PIXELS, Pixels, Size, on_picture, stated_size
from medzoo.data.sighting import Listing, Sighting
from medzoo.data.volumes import file_inside
from medzoo.errors import UserError
from medzoo.io import read_image
from medzoo.types import Array

_FLAGS = {0: False, 1: True, "0": False, "1": True, "false": False, "true": True, None: False}
_CORNERS = 0.1  # share of boxes beyond their image from which they are suspected to be two corners
_ALIKE = 0.8  # share of areas that are those of two corners


class Params(DataParams):
    """Parameters of `coco`: one annotation file that the recipe splits, or one for each part."""

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
        default=False,
        description="take boxes around crowds (iscrowd) as objects; else they are left out of training, and what is "
        "found in them counts neither way",
    )
    clip: bool = Field(
        default=False, description="cut boxes to the image instead of refusing; drop those that are then empty"
    )
    pixels: Pixels | None = Field(default=None, description=PIXELS)


@dataclass(frozen=True)
class _Annotation:
    """One row of `annotations`: label, bbox, area and segmentation as written, iscrowd, and its name in errors."""

    label: str
    bbox: Any
    area: Any
    segmentation: Any
    crowd: bool
    place: str


@dataclass(frozen=True)
class _Listed:
    """One row of `images` with its annotations; `where`: the file that lists it."""

    item: Item
    rows: tuple[_Annotation, ...]
    size: Size | None
    where: str


class Coco:
    """COCO boxes: bbox [x, y, width, height] in continuous coordinates, so the half-open box is
    [x, y, x + width, y + height]. Groups are "image", "near-duplicate" and, with `group`, "patient"."""

    def __init__(self, params: Params, labels: Sequence[str]) -> None:
        self.params, self.labels = params, tuple(labels)
        if isinstance(params.annotations, dict) and not params.annotations:
            raise UserError("lists no file", "data.annotations")

    @cached_property
    def found(self) -> dict[str, _Listed]:
        """The listed images by the id of their item."""
        given = self.params.annotations
        files: list[tuple[Part | None, str]] = [*given.items()] if isinstance(given, dict) else [(None, given)]
        result: dict[str, _Listed] = {}
        for part, name in files:
            for one in self._read(file_inside(self.params.root, name, "data.annotations"), part):
                if one.item.id in result:
                    raise UserError(f"the image {one.item.id!r} is listed twice", one.where)
                result[one.item.id] = one
        return result

    def _read(self, path: Path, part: Part | None) -> list[_Listed]:
        document, where = _document(path), str(path)
        categories = _by_id(document["categories"], "category", "name", where)
        names = {number: str(_field(row, "name", where)) for number, row in categories.items()}
        images = _by_id(document["images"], "image", "file_name", where)
        folder = self.params.images if isinstance(self.params.images, str) else self.params.images.get(part or "train")
        if folder is None:
            raise UserError(f"has no folder for {part}", "data.images")
        rows: dict[Hashable, list[_Annotation]] = {number: [] for number in images}
        known: set[Hashable] = set()
        for row in document["annotations"]:
            ident = _number(row["id"], "id of an annotation", where) if isinstance(row, dict) and "id" in row else None
            place = f"annotation {row['id'] if ident is not None else str(row)[:60]}"
            if ident in known:
                raise UserError(f"two annotations have the id {ident}", where, "give each its own id")
            known |= {ident} if ident is not None else set()
            number = _number(_field(row, "image_id", where), f"image_id of {place}", where)
            kind = _number(_field(row, "category_id", where), f"category_id of {place}", where)
            if number not in images:
                raise UserError(f"{place} belongs to image {number}, which is not listed", where)
            if kind not in names:
                raise UserError(f"{place} belongs to category {kind}, which is not listed", where)
            if names[kind] not in self.labels:
                raise UserError(f"the label {names[kind]!r} is not one of {', '.join(self.labels)}", where)
            if "bbox" not in row:
                raise UserError(f"{place} has no bbox", where, "add bbox: [x, y, width, height]")
            crowd = _flag(row.get("iscrowd"), f"iscrowd of {place}", where)
            rows[number].append(
                _Annotation(names[kind], row["bbox"], row.get("area"), row.get("segmentation"), crowd, place)
            )
        return [self._listed(row, tuple(rows[number]), folder, part, where) for number, row in images.items()]

    def _listed(self, row: Any, rows: tuple[_Annotation, ...], folder: str, part: Part | None, where: str) -> _Listed:
        name = _field(row, "file_name", where)
        if not isinstance(name, str) or not name:
            raise UserError(f"the image {row['id']} has an invalid file_name: {name!r}", where)
        refuse_hidden(name, where)
        ident = f"{part}/{name}" if part else name
        groups = {"image": ident}
        if self.params.group is not None:
            groups["patient"] = str(_field(row, self.params.group, where))
        file = self._file(folder, name, where)
        item = Item(ident, {"image": file}, NearGroups(groups, ident, lambda: self.near_duplicates), part=part)
        size = stated_size(row.get("width"), row.get("height"), f"{where}: image {ident}")
        return _Listed(item, rows, size, where)

    def _file(self, folder: str, name: str, where: str) -> Path:
        """The path of an image. Raises UserError that says where else it lies."""
        root = self.params.root
        if not (root / folder / name).is_file():
            slashed = name.replace("\\", "/")
            if slashed != name and (root / folder / slashed).is_file():  # written on Windows
                return file_inside(root, f"{folder}/{slashed}", where)
            if folder not in ("", ".") and not Path(slashed).is_absolute() and (root / slashed).is_file():
                hint = "its file_name counts from the root: set data.images=."
                raise UserError("no such file", str(root / folder / name), hint)
        return file_inside(root, f"{folder}/{name}", where)

    @cached_property
    def near_duplicates(self) -> dict[str, str]:
        """The near-duplicate group of every image."""
        return near_duplicate_groups({name: one.item.files["image"] for name, one in self.found.items()})

    def items(self) -> Sequence[Item]:
        """Every listed image, by part and name; those without an annotation are images without an object."""
        return [self.found[name].item for name in sorted(self.found)]

    def notes(self) -> Sequence[Note]:
        """A suspicion that the boxes are two corners instead of a corner and a size."""
        beyond, corners, areas, compared = 0, 0, 0, 0
        rows = [(row, one.size) for one in self.found.values() for row in one.rows if _is_box(row.bbox)]
        for row, size in rows:
            x, y, w, h = map(float, row.bbox)
            corners += w > x and h > y
            if size is not None:
                beyond += x + w > size[0] + ROUNDING or y + h > size[1] + ROUNDING
            if _is_number(row.area) and w * h > 0:
                compared += 1
                areas += math.isclose(row.area, (w - x) * (h - y), rel_tol=0.01) and not math.isclose(
                    row.area, w * h, rel_tol=0.01
                )
        if not rows or corners < len(rows) or (beyond < _CORNERS * len(rows) and areas < max(1, _ALIKE * compared)):
            return []
        text = (
            f"the boxes look like two corners, [x0, y0, x1, y1]: COCO's are [x, y, width, height] ({beyond} of "
            f"{len(rows)} reach beyond their image, the areas of {areas} are those of two corners)"
        )
        return [Note("box-form", text)]

    def load(self, item: Item) -> Sample:
        """The image with its objects. Raises UserError that names the annotation for a box that cannot be."""
        image = read_image(item.files["image"], kind="picture")
        one = self.found[item.id]
        where = f"{one.where}: {item.id}"
        boxes = np.zeros((len(one.rows), 4))
        for k, row in enumerate(one.rows):
            place = f"{one.where}: {row.place} of {item.id}"
            if not _is_box(row.bbox):
                raise UserError(f"its bbox is {row.bbox!r}, not [x, y, width, height]", place)
            x, y, w, h = map(float, row.bbox)
            boxes[k] = [x, y, x + w, y + h]
        stated = boxes
        boxes = on_picture(boxes, image, stated=one.size, pixels=self.params.pixels, where=where)
        for row, box in zip(one.rows, boxes, strict=True):
            place = f"{one.where}: {row.place} of {item.id}"
            x, y, w, h = map(float, row.bbox)
            corners = w > x >= 0 and h > y >= 0 and w <= image.shape[1] and h <= image.shape[0]
            hint = "as two corners it would fit, but bbox is [x, y, width, height]" if corners else None
            checked_objects([box.tolist()], [0], image.shape, place, clip=self.params.clip, hint=hint)
        left_out = np.array([row.crowd and not self.params.crowds for row in one.rows], bool)
        numbers = np.array([self.labels.index(row.label) for row in one.rows], np.int64)

        def chosen(which: Array, masks: Callable[[Array], Array] | None = None) -> Any:
            rows, labels = boxes[which].tolist(), numbers[which].tolist()
            return checked_objects(rows, labels, image.shape, where, clip=self.params.clip, masks=masks)

        def masks(kept: Array) -> Array:
            if not np.array_equal(boxes, stated):
                raise UserError("its outlines are of the picture before it was turned", where, "save it upright")
            rows = [row for row, crowd in zip(one.rows, left_out, strict=True) if not crowd]
            everywhere = (slice(None), slice(None))
            found = (
                segmentation_mask(
                    rows[k].segmentation,
                    (image.shape[0], image.shape[1]),
                    where=f"{one.where}: {rows[k].place} of {item.id}",
                )
                for k in kept
            )
            return stack_layers(((n, everywhere, mask) for n, mask in enumerate(found)), image.shape)

        target, notes = chosen(~left_out, masks), []
        if left_out.any():
            crowds = chosen(left_out)
            target = target.ignoring(IgnoredObjects(crowds.boxes, crowds.labels, crowd=True))
            notes = [Note("crowd", f"{int(left_out.sum())} of {len(left_out)} boxes mark crowds and do not count")]
        return Sample(item, image, target, notes=tuple(notes))


def _document(path: Path) -> Any:
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        raise UserError("is compressed with gzip", str(path), "decompress it")
    try:
        document = json.loads(data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"is not JSON: {error}", str(path)) from None
    for key in ("images", "annotations", "categories"):
        if not isinstance(document, dict) or not isinstance(document.get(key), list):
            raise UserError(f"has no list {key!r}", str(path), "a COCO file has images, annotations, categories")
    return document


def _by_id(rows: Iterable[Any], what: str, name: str, where: str) -> dict[Hashable, Any]:
    """Rows by id. Raises UserError that names two of one id."""
    found: dict[Hashable, Any] = {}
    for row in rows:
        number = _number(_field(row, "id", where), f"id of an entry of {what}", where)
        if number in found:
            both = f"{found[number].get(name)!r} and {row.get(name)!r}"
            raise UserError(f"the {what} id {number} is used twice, for {both}", where, "give each its own id")
        found[number] = row
    return found


def _field(row: Any, name: str, where: str) -> Any:
    if not isinstance(row, dict) or name not in row:
        raise UserError(f"an entry has no {name!r}: {str(row)[:60]}", where)
    return row[name]


def _number(value: Any, what: str, where: str) -> Hashable:
    """An id, so that 7, 7.0 and "7" are one; other text stays as it is. Raises UserError for what is no id."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value:
        text = value.removesuffix(".0")
        return int(text) if text.isascii() and text.isdigit() and str(int(text)) == text else value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise UserError(f"the {what} is {value!r}", where, "ids must be whole numbers")


def _flag(value: Any, what: str, where: str) -> bool:
    """A flag that is written as 0 or 1, as a number, as text or as true and false. Raises UserError."""
    key = value.strip().lower() if isinstance(value, str) else value
    if isinstance(key, Hashable) and key in _FLAGS:
        return _FLAGS[key]
    raise UserError(f"the {what} is {value!r}", where, "write 0 or 1")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_is_number, value))


def _open(params: Params, task: str, labels: Sequence[str]) -> Coco:
    return Coco(params, labels)


def recognise(listing: Listing) -> Sighting | None:
    """JSON files with images, annotations with bbox, and categories; Roboflow's and COCO's own among them."""
    files = [n for n in listing.sample(listing.matching("*.json"), 20) if _is_coco(listing.json(n))]
    if not files:
        return None
    parts: dict[Part | None, str] = {}
    for name in files:
        words = set(re.split(r"[^a-z]+", name.lower()))
        part = next((part for word, part in _PARTS.items() if word in words), None)
        if part in parts:
            text = f"{parts[part]} and {name} are both files of {part or 'the whole set'}"
            raise UserError(text, str(listing.root), "name one file in place of the folder")
        parts[part] = name
    if None in parts and len(parts) > 1:
        raise UserError(f"{parts[None]} belongs to no part, others do", str(listing.root), "name one file")
    folders = {part: _image_folder(listing, name) for part, name in parts.items()}
    labels: dict[str, None] = {}
    count = 0
    for name in files:
        document = listing.json(name)
        used = {row.get("category_id") for row in document["annotations"]}
        count += len(document["annotations"])
        labels |= dict.fromkeys(str(row["name"]) for row in document["categories"] if row.get("id") in used)
    rows = [row for name in files for row in listing.json(name)["images"][:50]]
    group = next(
        (g for g in ("patient_id", "patient", "subject", "case_id") if rows and all(g in r for r in rows)), None
    )
    params: dict[str, Any] = {"annotations": parts.get(None, parts)}
    params["images"] = folders.get(None, folders)
    params |= {"group": group} if group else {}
    params["clip"] = True
    why = f"COCO in {', '.join(files)}: {count} objects of {len(labels)} categories"
    return Sighting(("detect",), tuple(labels), why, params)


_PARTS: dict[str, Part] = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def _is_coco(document: Any) -> bool:
    lists = ("images", "annotations", "categories")
    if not isinstance(document, dict) or not all(isinstance(document.get(key), list) for key in lists):
        return False
    rows = document["annotations"]
    return not rows or (isinstance(rows[0], dict) and "bbox" in rows[0])


def _image_folder(listing: Listing, name: str) -> str:
    """The folder from which the file names of an annotation file count. Raises UserError where none does."""
    rows = [
        str(row.get("file_name", "")).replace("\\", "/")
        for row in listing.json(name)["images"]
        if isinstance(row, dict)
    ]
    beside = PurePosixPath(name).parent.as_posix()
    for row in rows[:3]:
        ends = [n.removesuffix(row).rstrip("/") or "." for n in listing.files if f"/{n}".endswith(f"/{row}")]
        if ends:
            return beside if beside in ends else min(ends, key=len)
    raise UserError(f"its pictures, such as {rows[0] if rows else 'none'}, are not here", str(listing.path(name)))


ENTRY = DataEntry(Params, ("detect",), _open, image="picture", recognise=recognise)
