"""`cvat`: an annotations.xml of CVAT, "CVAT for images 1.1": boxes, polygons, ellipses and masks of each picture."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from xml.etree import ElementTree

import numpy as np
from pydantic import Field

from medzoo.data.annotated import (
    Annotated,
    AnnotatedParams,
    AnnotatedPictures,
    Shape,
    ellipse,
    paste,
    rectangle,
    ring,
)
from medzoo.data.annotation_files import Pictures, read_xml
from medzoo.data.dataset import DataEntry, Note, Part
from medzoo.data.picture_size import stated_size
from medzoo.data.sighting import Listing, Sighting
from medzoo.errors import UserError
from medzoo.types import Array

_SUBSETS: dict[str, Part] = {"train": "train", "val": "val", "validation": "val", "valid": "val", "test": "test"}
_LINES = ("polyline", "points", "skeleton", "cuboid")  # shapes without an area in the picture
_SHAPES = ("box", "polygon", "ellipse", "mask")


class Params(AnnotatedParams):
    """Parameters of `cvat`: the folder, and the file in it."""

    annotations: str = Field(default="annotations.xml", description="the XML file below the root")


class Cvat(AnnotatedPictures):
    """Pictures that the file lists, also those without a shape. Parts are its subsets Train, Validation and Test."""

    params: Params

    def read(self) -> Iterable[Annotated]:
        path = self.params.root / self.params.annotations
        if not path.is_file():
            raise UserError("no such file", str(path), "set data.annotations to the XML file that CVAT exported")
        root = read_xml(path, what="an annotation file of CVAT")
        entries = root.findall("image")
        if root.tag != "annotations" or not entries:
            video = root.find("track") is not None
            hint = 'export as "CVAT for images 1.1"' if video else None
            text = "holds tracks of a video" if video else f"lists no image: its root is <{root.tag}>"
            raise UserError(text, str(path), hint)
        pictures = Pictures(self.params.root)
        for entry in entries:
            name, subset = entry.get("name", ""), entry.get("subset", "").lower()
            where = f"{path}: {name}"
            image = pictures.find(name, where=where)
            size = stated_size(entry.get("width"), entry.get("height"), where)
            known = [(number, child) for number, child in enumerate(entry, 1) if child.tag in _SHAPES]
            shapes = tuple(_shape(child, f"shape {number}", where) for number, child in known)
            lines = sum(child.tag in _LINES for child in entry)
            notes = (Note("shape", f"{lines} points or lines have no area and are left out"),) if lines else ()
            ident = image.relative_to(self.params.root).as_posix()
            yield Annotated(ident, image, shapes, where, size=size, part=_SUBSETS.get(subset), notes=notes)


def _shape(entry: ElementTree.Element, place: str, where: str) -> Shape:
    label = entry.get("label") or ""
    if not label:
        raise UserError(f"{place} has no label", where)
    place = f"{place} ({label})"
    turned = _number(entry, "rotation", place, where, default=0.0)
    if entry.tag == "box":
        x0, y0, x1, y1 = (_number(entry, side, place, where) for side in ("xtl", "ytl", "xbr", "ybr"))
        if not turned:
            return Shape(label, place, box=(x0, y0, x1, y1))
        middle = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
        corners = rectangle(-(x1 - x0) / 2, -(y1 - y0) / 2, x1 - x0, y1 - y0)
        return Shape(label, place, rings=(_turned(corners, turned) + middle,))
    if entry.tag == "ellipse":
        cx, cy, rx, ry = (_number(entry, side, place, where) for side in ("cx", "cy", "rx", "ry"))
        return Shape(label, place, rings=(ellipse((cx, cy), (rx, ry), turned=turned),))
    if entry.tag == "polygon":
        try:
            values = [float(v) for point in entry.get("points", "").split(";") for v in point.split(",")]
        except ValueError:
            raise UserError(f"{place}: its points are {entry.get('points', '')[:60]!r}", where, "x,y;x,y;...") from None
        return Shape(label, place, rings=(ring(values, place, where),))
    left, top, width, height = (int(_number(entry, side, place, where)) for side in ("left", "top", "width", "height"))
    try:
        counts = [int(v) for v in entry.get("rle", "").split(",")]
    except ValueError:
        raise UserError(f"{place}: its run lengths are no numbers", where) from None
    if sum(counts) != width * height or min(counts) < 0:
        raise UserError(f"{place}: its run lengths do not fill {width} x {height} pixels", where)
    crop = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(height, width)
    return Shape(label, place, mask=lambda size: paste(crop, (top, left), size, place=place, where=where))


def _turned(points: Array, degrees: float) -> Array:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    result: Array = points @ np.array([[c, s], [-s, c]])
    return result


def _number(entry: ElementTree.Element, name: str, place: str, where: str, *, default: float | None = None) -> float:
    text = entry.get(name)
    if text is None and default is not None:
        return default
    try:
        return float(text or "")
    except ValueError:
        raise UserError(f"{place}: {name} is {text!r}", where, "write a number") from None


def recognise(listing: Listing) -> Sighting | None:
    """An XML file whose root is <annotations>."""
    found = []
    for name in listing.sample(listing.matching("*.xml"), 5):
        with suppress(UserError):
            root = read_xml(listing.path(name), what="XML")
            if root.tag == "annotations":
                found.append((name, root))
    if not found:
        return None
    if len(found) > 1:
        files = ", ".join(name for name, _ in found)
        raise UserError(f"has several annotation files of CVAT: {files}", str(listing.root), "name one of them")
    ((name, root),) = found
    shapes = [child for entry in root.findall("image") for child in entry if child.tag in _SHAPES]
    labels = tuple(sorted({child.get("label", "") for child in shapes} - {""}))
    outlined = bool(shapes) and all(child.tag != "box" for child in shapes)
    why = f"{name} of CVAT: {len(shapes)} shapes of {len(labels)} labels"
    path = listing.path(name)
    return Sighting(
        ("detect", "segment") if outlined else ("detect",), labels, why, {"annotations": path.name}, path.parent
    )


ENTRY = DataEntry(Params, ("detect", "segment"), Cvat, image="picture", recognise=recognise)
