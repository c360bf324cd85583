"""`voc`: Pascal VOC detection data, Annotations/*.xml, JPEGImages/, ImageSets/Main/{train,val,test}.txt."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from medzoo.data.dataset import DataEntry, DataParams, Item, Part, Sample
from medzoo.data.objects import checked_objects
from medzoo.data.prints import NearGroups, near_duplicate_groups
from medzoo.errors import UserError
from medzoo.io import read_image

PARTS: tuple[tuple[str, Part], ...] = (("train", "train"), ("val", "val"), ("test", "test"))


class Params(DataParams):
    """`root`: the folder that holds Annotations/ and JPEGImages/. `clip`: boxes that reach beyond the image
    are cut to it instead of refused, and those that are empty are dropped."""

    root: Path
    clip: bool = False


class Voc:
    """VOC boxes: xmin, ymin, xmax, ymax count pixels from 1 and include the last one (VOC devkit), so the
    half-open box is [xmin - 1, ymin - 1, xmax, ymax]; a 0 among the lows is taken as the first pixel.

    Groups are "image" and "near-duplicate"; the parts are those of ImageSets/Main, where it is there.
    """

    def __init__(self, params: Params, labels: Sequence[str]) -> None:
        self.root, self.clip, self.labels = params.root, params.clip, tuple(labels)

    @cached_property
    def images(self) -> dict[str, Path]:
        """Image path by the stem that its annotation shares."""
        folder = self.root / "JPEGImages"
        found = {p.stem: p for p in sorted(folder.glob("*")) if p.suffix.lower() in (".jpg", ".jpeg", ".png")}
        if not found:
            raise UserError("holds no images", str(folder), "a VOC folder has JPEGImages and Annotations")
        return found

    @cached_property
    def near(self) -> dict[str, str]:
        """The near-duplicate group of every image."""
        return near_duplicate_groups(self.images)

    def items(self) -> Sequence[Item]:
        """Images that have an annotation and are in one of the sets, if sets are given, by name."""
        parts = self._parts()
        items = []
        for stem, image in self.images.items():
            annotation = self.root / "Annotations" / f"{stem}.xml"
            if not annotation.is_file():
                raise UserError("has no annotation", str(image), f"it would be {annotation.name}")
            if parts and stem not in parts:
                continue
            groups = NearGroups({"image": stem}, stem, lambda: self.near)
            files = {"image": image, "annotation": annotation}
            items.append(Item(stem, files, groups, part=parts.get(stem)))
        return items

    def _parts(self) -> dict[str, Part]:
        parts: dict[str, Part] = {}
        for name, part in PARTS:
            path = self.root / "ImageSets" / "Main" / f"{name}.txt"
            for line in path.read_text().split("\n") if path.is_file() else []:
                stem = line.split()[0] if line.strip() else ""
                if stem and stem not in self.images:
                    raise UserError(f"names {stem!r}, which is not in JPEGImages", str(path))
                if stem and parts.setdefault(stem, part) != part:
                    raise UserError(f"names {stem!r}, which is in {parts[stem]} too", str(path))
                if stem:
                    parts[stem] = part
        return parts

    def load(self, item: Item) -> Sample:
        """The image with all objects of its annotation."""
        image = read_image(item.files["image"], kind="picture")
        where = str(item.files["annotation"])
        boxes, numbers = [], []
        for name, box in _objects(item.files["annotation"]):
            if name not in self.labels:
                raise UserError(f"the label {name!r} is not one of {', '.join(self.labels)}", where)
            height, width = image.shape
            half_open = [max(box[0] - 1, 0), max(box[1] - 1, 0), box[2], box[3]]
            if self.clip:
                half_open[2:] = min(half_open[2], width), min(half_open[3], height)
                if half_open[2] <= half_open[0] or half_open[3] <= half_open[1]:
                    continue
            boxes.append(half_open)
            numbers.append(self.labels.index(name))
        return Sample(item, image, checked_objects(boxes, numbers, image.shape, where))


def _objects(path: Path) -> list[tuple[str, list[float]]]:
    """Name and xmin, ymin, xmax, ymax of each object in an annotation. Raises UserError."""
    text = path.read_bytes()
    # Entities can make a small file huge; annotations have no use for them.
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise UserError("has a document type, which annotations have not", str(path))
    try:
        root = ElementTree.fromstring(text)
        return [
            (
                (entry.findtext("name") or "").strip(),
                [float(entry.findtext(f"bndbox/{side}") or "") for side in ("xmin", "ymin", "xmax", "ymax")],
            )
            for entry in root.findall("object")
        ]
    except (ElementTree.ParseError, ValueError) as error:
        raise UserError(f"is no VOC annotation: {error}", str(path)) from None


def _open(params: Params, task: str, labels: Sequence[str]) -> Voc:
    return Voc(params, labels)


ENTRY = DataEntry(Params, ("detect",), _open, image="picture")
