"""`labelme`: one JSON file a picture, as LabelMe writes it (Russell et al., IJCV 2008; github.com/wkentaro/labelme)."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from medzoo.data.annotated import Annotated, AnnotatedParams, AnnotatedPictures, Shape, ellipse, paste, ring, shape_mask
from medzoo.data.annotation_files import read_json
from medzoo.data.dataset import DataEntry, Note
from medzoo.data.file_names import is_hidden
from medzoo.data.picture_size import stated_size
from medzoo.data.sighting import Listing, Sighting
from medzoo.errors import UserError
from medzoo.io.formats import is_image_file
from medzoo.types import Array

_LINES = ("point", "points", "line", "linestrip")  # shapes without an area


class LabelMe(AnnotatedPictures):
    """Shapes are polygons, rectangles, circles and masks; shapes of one label and `group_id` are one object.

    Points and lines have no area: they are left out, and noted. The picture is `imagePath`, else the one beside the
    file that has its name.
    """

    def read(self) -> Iterable[Annotated]:
        root = self.params.root
        paths = [p for p in sorted(root.rglob("*.json")) if not is_hidden(p, root=root)]
        for path in paths:
            document = labelme_document(path)
            if document is None:
                continue
            image = self._image(path, document)
            shapes, lines = self._shapes(document["shapes"], str(path))
            notes = (Note("shape", f"{lines} points or lines have no area and are left out"),) if lines else ()
            size = stated_size(document.get("imageWidth"), document.get("imageHeight"), str(path))
            yield Annotated(
                path.relative_to(root).with_suffix("").as_posix(),
                image,
                shapes,
                str(path),
                size=size,
                files={"annotation": path},
                notes=notes,
            )

    def notes(self) -> list[Note]:
        """Pictures without a JSON file, which cannot be told from pictures without an object."""
        root, known = self.params.root, {one.image.resolve() for one in self.found.values()}
        alone = [p.name for p in sorted(root.rglob("*")) if is_image_file(p) and p.resolve() not in known]
        text = f"{len(alone)} pictures have no JSON file and are left out: {', '.join(alone[:3])}"
        return [Note("unlisted", text)] if alone else []

    def _image(self, path: Path, document: Mapping[str, Any]) -> Path:
        named = str(document.get("imagePath") or "")
        tried = [path.parent / named, path.parent / PureWindowsPath(named).name] if named else []
        beside = [p for p in sorted(path.parent.glob(f"{glob_safe(path.stem)}.*")) if is_image_file(p)]
        found = next((p for p in [*tried, *beside] if p.is_file()), None)
        if found is None:
            hint = "put the picture beside it" if named else "set imagePath"
            raise UserError(f"its picture {named!r} does not exist", str(path), hint)
        return found

    def _shapes(self, rows: Any, where: str) -> tuple[tuple[Shape, ...], int]:
        """The shapes of a file, and how many have no area."""
        joined: dict[Any, list[Shape]] = {}
        lines = 0
        for number, row in enumerate(rows, 1):
            place = f"shape {number}"
            if not isinstance(row, dict) or not isinstance(row.get("label"), str) or "points" not in row:
                raise UserError(f"{place} has no label and points", where)
            if row.get("shape_type") in _LINES:
                lines += 1
                continue
            group = row.get("group_id")
            key = number if group is None else (row["label"], group)
            joined.setdefault(key, []).append(_shape(row, f"{place} ({row['label']})", where))
        return tuple(one[0] if len(one) == 1 else _together(one) for one in joined.values()), lines


def labelme_document(path: Path) -> Any:
    """The JSON of a LabelMe file; None for another JSON file. Raises UserError for text that is no JSON."""
    document = read_json(path)
    return document if _is_labelme(document) else None


def glob_safe(name: str) -> str:
    """A name with the characters that a glob reads otherwise in brackets."""
    return "".join(f"[{c}]" if c in "[*?" else c for c in name)


def _shape(row: Mapping[str, Any], place: str, where: str) -> Shape:
    label, kind = row["label"], row.get("shape_type") or "polygon"
    try:
        points = np.asarray(row["points"], float).reshape(-1, 2)
    except (TypeError, ValueError):
        raise UserError(f"{place}: its points are {str(row['points'])[:60]}", where, "write [[x, y], ...]") from None
    if kind in ("rectangle", "circle", "mask") and len(points) != 2 and not (kind == "rectangle" and len(points) == 4):
        raise UserError(f"{place}: a {kind} has two points, not {len(points)}", where)
    if kind == "rectangle":
        (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
        return Shape(label, place, box=(x0, y0, x1, y1))
    if kind == "circle":
        radius = float(np.hypot(*(points[1] - points[0])))
        return Shape(label, place, rings=(ellipse((points[0][0], points[0][1]), (radius, radius)),))
    if kind == "mask":
        crop = _decoded(row.get("mask"), place, where)
        x, y = (int(v) for v in points[0])
        return Shape(label, place, mask=lambda size: paste(crop, (y, x), size, place=place, where=where))
    if kind == "polygon":
        return Shape(label, place, rings=(ring(points.ravel().tolist(), place, where),))
    raise UserError(f"{place}: the shape type {kind!r} is not known", where, "polygon, rectangle, circle or mask")


def _decoded(text: Any, place: str, where: str) -> Array:
    from PIL import Image as Pillow

    try:
        with Pillow.open(io.BytesIO(base64.b64decode(text))) as picture:
            crop: Array = np.asarray(picture) > 0
    except (TypeError, ValueError, OSError) as error:
        raise UserError(f"{place}: its mask is no PNG in base64 ({error})", where) from None
    return crop if crop.ndim == 2 else crop[..., 0]


def _together(shapes: list[Shape]) -> Shape:
    """Shapes that are one object; polygons that overlap are added, not taken for holes."""

    def mask(size: tuple[int, int]) -> Array:
        whole = np.zeros(size, bool)
        for shape in shapes:
            where, part = shape_mask(shape, size, scale=np.ones(2), where="")
            whole[where] |= part
        return whole

    first = shapes[0]
    if all(shape.outlined for shape in shapes):
        return Shape(first.label, first.place, mask=mask)
    corners = np.array([shape.box for shape in shapes if shape.box is not None])
    for shape in shapes:
        if shape.rings:
            points = np.concatenate(shape.rings)
            corners = np.vstack([corners, [*points.min(axis=0), *points.max(axis=0)]])
    low, high = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
    return Shape(first.label, first.place, box=(low[0], low[1], high[0], high[1]))


def recognise(listing: Listing) -> Sighting | None:
    """JSON files with shapes and an imagePath, one a picture."""
    names = listing.matching("*.json")
    if not any(_is_labelme(listing.json(name)) for name in listing.sample(names, 5)):
        return None
    documents = [document for name in names if _is_labelme(document := labelme_document(listing.path(name)))]
    rows = [row for one in documents for row in one["shapes"] if row.get("shape_type") not in _LINES]
    labels = tuple(sorted({str(row.get("label")) for row in rows}))
    outlined = bool(rows) and all(row.get("shape_type") in ("polygon", "circle", "mask") for row in rows)
    why = f"{len(documents)} LabelMe files with {len(rows)} shapes of {len(labels)} labels"
    return Sighting(("detect", "segment") if outlined else ("detect",), labels, why)


def _is_labelme(document: Any) -> bool:
    mine = isinstance(document, dict) and isinstance(document.get("shapes"), list)
    return mine and ("imagePath" in document or "imageData" in document)


ENTRY = DataEntry(AnnotatedParams, ("detect", "segment"), LabelMe, image="picture", recognise=recognise)
