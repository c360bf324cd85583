"""`label-studio`: the JSON export of Label Studio: boxes, polygons, ellipses and brush strokes, in percent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from pydantic import Field

from medzoo.data.annotated import (
    Annotated,
    AnnotatedParams,
    AnnotatedPictures,
    Shape,
    ellipse,
    rectangle,
    ring,
)
from medzoo.data.annotation_files import Pictures, read_json
from medzoo.data.dataset import DataEntry, Note
from medzoo.data.picture_size import Size, stated_size
from medzoo.data.sighting import Listing, Sighting
from medzoo.errors import UserError
from medzoo.io.brush_lengths import decode_brush
from medzoo.types import Array

_KINDS = {
    "rectanglelabels": "rectangle",
    "polygonlabels": "polygon",
    "ellipselabels": "ellipse",
    "brushlabels": "brush",
}
_ALONE = ("rectangle", "polygon", "ellipse", "brush")  # results whose labels stand in a `labels` result of the same id
_LINES = ("keypointlabels", "keypoint", "vectorlabels")


class Params(AnnotatedParams):
    """Parameters of `label-studio`: the export, and which reading of a picture counts."""

    annotations: str = Field(default="project.json", description="the exported JSON file below the root")
    annotator: str | None = Field(
        default=None, description="who drew what counts, by e-mail or number, of pictures that several people read"
    )


class LabelStudio(AnnotatedPictures):
    """Tasks of the export with a finished annotation; of several the ground truth, or that of `annotator`.

    Tasks that nobody annotated, or that were skipped, are left out and noted: they are not pictures without an object.
    """

    params: Params
    _open_tasks = 0

    def read(self) -> Iterable[Annotated]:
        path = self.params.root / self.params.annotations
        if not path.is_file():
            raise UserError("no such file", str(path), "set data.annotations to the JSON file that was exported")
        tasks = read_json(path)
        if not isinstance(tasks, list) or not all(isinstance(task, dict) and "data" in task for task in tasks):
            raise UserError("is no export of Label Studio", str(path), 'export as "JSON", not as "JSON-MIN"')
        pictures = Pictures(self.params.root)
        self._open_tasks = 0
        for task in tasks:
            where = f"{path}: task {task.get('id')}"
            results = self._results(task, where)
            if results is None:
                self._open_tasks += 1
                continue
            named = [v for v in task["data"].values() if isinstance(v, str) and "." in v]
            if not named:
                raise UserError("its data name no picture", where)
            image = pictures.find(named[0], where=where, prefixed=True)
            shapes, size, lines = _shapes(results, where)
            notes = (Note("shape", f"{lines} points or lines have no area and are left out"),) if lines else ()
            ident = image.relative_to(self.params.root).as_posix()
            yield Annotated(ident, image, shapes, where, size=size, relative=True, notes=notes)

    def notes(self) -> list[Note]:
        """Tasks without a finished annotation."""
        assert self.found
        text = f"{self._open_tasks} tasks have no finished annotation and are left out"
        return [Note("unlisted", text)] if self._open_tasks else []

    def _results(self, task: Mapping[str, Any], where: str) -> list[Any] | None:
        """The results of the one annotation that counts; None where there is none. Raises UserError for several."""
        done = [a for a in task.get("annotations") or task.get("completions") or [] if not a.get("was_cancelled")]
        if self.params.annotator is not None:
            done = [a for a in done if _annotator(a) == self.params.annotator]
        truth = [a for a in done if a.get("ground_truth")]
        done = truth or done
        if len(done) > 1:
            names = ", ".join(sorted({_annotator(a) for a in done}))
            raise UserError(f"has {len(done)} annotations, by {names}", where, "set data.annotator, or a ground truth")
        return list(done[0].get("result") or []) if done else None


def _annotator(annotation: Mapping[str, Any]) -> str:
    by = annotation.get("completed_by")
    return str(by.get("email") or by.get("id")) if isinstance(by, dict) else str(by)


def _shapes(results: list[Any], where: str) -> tuple[tuple[Shape, ...], Size | None, int]:
    """The shapes of an annotation, the size of the picture that it states, and how many have no area."""
    shapes, sizes, lines = [], set(), 0
    named = {r.get("id"): r["value"]["labels"] for r in results if r.get("type") == "labels" and r.get("value")}
    for number, result in enumerate(results, 1):
        kind, value = result.get("type"), result.get("value")
        lines += kind in _LINES
        shape = _KINDS.get(str(kind)) or (kind if kind in _ALONE and result.get("id") in named else None)
        if shape is None or not isinstance(value, dict):
            continue
        labels = value.get(f"{shape}labels") or named.get(result.get("id")) or []
        if len(labels) != 1:
            raise UserError(f"result {number} has {len(labels)} labels", where, "give each shape one label")
        size = stated_size(result.get("original_width"), result.get("original_height"), where)
        sizes.add(size)
        shapes.append(_shape(shape, labels[0], value, size, f"result {number} ({labels[0]})", where))
    if len(sizes) > 1:
        raise UserError("its shapes are of pictures of several sizes", where)
    return tuple(shapes), next(iter(sizes), None), lines


def _shape(kind: str, label: str, value: Mapping[str, Any], size: Size | None, place: str, where: str) -> Shape:
    try:
        if kind == "brush":
            if size is None:
                raise UserError(f"{place}: its picture's size is not stated", where)
            mask = decode_brush(value["rle"], (int(size[1]), int(size[0])), where=f"{where}: {place}")
            return Shape(label, place, mask=lambda shape: _of_size(mask, shape, f"{where}: {place}"))
        if kind == "polygon":
            return Shape(label, place, rings=(ring(np.ravel(value["points"]).tolist(), place, where) / 100,))
        x, y = float(value["x"]) / 100, float(value["y"]) / 100
        turned = float(value.get("rotation") or 0)
        if kind == "rectangle" and not turned:
            return Shape(label, place, box=(x, y, x + float(value["width"]) / 100, y + float(value["height"]) / 100))
        if turned and size is None:
            raise UserError(f"{place}: it is turned, and its picture's size is not stated", where)
        # Turned in pixels, since shares of width and height are not of one length.
        w, h = size or (1.0, 1.0)
        if kind == "rectangle":
            sides = float(value["width"]) / 100 * w, float(value["height"]) / 100 * h
            box = rectangle(x * w, y * h, *sides, turned=turned)
            return Shape(label, place, rings=(box / [w, h],))
        radii = float(value["radiusX"]) / 100 * w, float(value["radiusY"]) / 100 * h
        return Shape(label, place, rings=(ellipse((x * w, y * h), radii, turned=turned) / [w, h],))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{place} is no {kind}: {error}", where) from None


def _of_size(mask: Array, shape: tuple[int, int], where: str) -> Array:
    if mask.shape != shape:
        raise UserError(f"its brush strokes are of {mask.shape}, the picture of {shape}", where)
    return mask


def recognise(listing: Listing) -> Sighting | None:
    """A JSON list of tasks with data and annotations."""
    found = [name for name in listing.sample(listing.matching("*.json"), 5) if _is_export(listing.json(name))]
    if not found:
        return None
    if len(found) > 1:
        raise UserError(f"has several exports: {', '.join(found)}", str(listing.root), "name one of them")
    shapes = [
        shape
        for task in listing.json(found[0])
        for annotation in task.get("annotations") or []
        for shape in _shapes(list(annotation.get("result") or []), found[0])[0]
    ]
    labels = tuple(sorted({shape.label for shape in shapes}))
    outlined = bool(shapes) and all(shape.outlined for shape in shapes)
    why = f"{found[0]} of Label Studio: {len(shapes)} shapes of {len(labels)} labels"
    path = listing.path(found[0])
    return Sighting(
        ("detect", "segment") if outlined else ("detect",), labels, why, {"annotations": path.name}, path.parent
    )


def _is_export(document: Any) -> bool:
    rows = document if isinstance(document, list) else []
    return bool(rows) and all(isinstance(row, dict) and "data" in row and "annotations" in row for row in rows)


ENTRY = DataEntry(Params, ("detect", "segment"), LabelStudio, image="picture", recognise=recognise)
