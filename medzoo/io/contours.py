"""Contour files: closed outlines as points in millimetres, one a slice, from CSV or JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.errors import UserError
from medzoo.io.read import read_labels
from medzoo.io.regular import open_regular
from medzoo.types import Array, Image

SUFFIXES = (".csv", ".json")
FEWEST = 8
_SIDE = 240  # pixels along the longer side of the picture that stands for the outlines
_FORM = "CSV with columns x, y (and z for several slices), or JSON [[x, y], ...], in millimetres"


def read_contours(path: str | Path) -> Image:
    """The outlines of one body as an Image: a mask picture (1, H, W) uint8 of the widest slice, 255 inside.

    `meta["outlines_mm"]`: {0: [(z, (N, 2) x and y)]}, `meta["spacing"]`: millimetres a pixel of the picture.
    CSV: a header with x, y and, for several slices, z; points in drawing order. JSON: a list of [x, y] or
    [x, y, z], or {"contours": [{"z": mm, "points": [[x, y], ...]}, ...]}. Raises UserError naming the file
    (and the line of a CSV), also for a slice alone with fewer than 8 points.
    """
    path = Path(path)
    where = str(path)
    if not path.exists():
        raise UserError("no such file", where)
    with open_regular(path) as handle:
        raw = handle.read()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError("is not text", where, _FORM) from None
    levels = _from_json(text, where) if path.suffix.lower() == ".json" else _from_csv(text, where)
    longest = max((len(points) for points in levels.values()), default=0)
    if longest < FEWEST:
        raise UserError(f"a contour of {longest} points is too short", where, f"it takes at least {FEWEST}")
    outlines = [(z, points) for z, points in sorted(levels.items())]
    widest = max((points for _, points in outlines), key=lambda p: float(np.prod(np.ptp(p, axis=0))))
    mask, pixel = _drawn(widest)
    return Image(mask[None], None, where, {"outlines_mm": {0: outlines}, "spacing": (pixel, pixel)})


_NO_SCALE = "a picture has no scale: a pixel is taken as a millimetre"


def read_outline(source: Any) -> Image:
    """Read an outline from a contour file, a mask picture or a mask volume.

    A picture has no scale: `meta["assumed"]` says what is taken for it. Raises UserError, see `read_contours` and
    `read_labels`.
    """
    if isinstance(source, str | Path) and Path(source).suffix.lower() in SUFFIXES:
        return read_contours(source).replace(source=str(source))
    mask = read_labels(source)
    return mask if mask.affine is not None else mask.replace(meta={**mask.meta, "assumed": _NO_SCALE})


def _from_csv(text: str, where: str) -> dict[float, Array]:
    rows = csv.reader(text.splitlines())
    header = [name.strip().lower() for name in next(rows, [])]
    if "x" not in header or "y" not in header:
        raise UserError("has no columns x and y", where, _FORM)
    x, y, z = header.index("x"), header.index("y"), header.index("z") if "z" in header else None
    points: dict[float, list[tuple[float, float]]] = {}
    for number, row in enumerate(rows, 2):
        if not row:
            continue
        try:
            level = float(row[z]) if z is not None else 0.0
            points.setdefault(level, []).append((float(row[x]), float(row[y])))
        except (ValueError, IndexError):
            raise UserError(f"{','.join(row)!r} is not a point", f"{where}:{number}", _FORM) from None
    return {level: _checked(np.array(one), where) for level, one in points.items()}


def _from_json(text: str, where: str) -> dict[float, Array]:
    try:
        document: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"is not JSON: {error.msg}", f"{where}:{error.lineno}:{error.colno}", _FORM) from None
    if isinstance(document, Mapping):
        parts = document.get("contours")
        if not isinstance(parts, Sequence) or not all(isinstance(p, Mapping) and "points" in p for p in parts):
            raise UserError("has no list of contours with points", where, _FORM)
        return {float(part.get("z", 0.0)): _checked(part["points"], where) for part in parts}
    array = _checked(document, where, columns=(2, 3))
    if array.shape[1] == 2:
        return {0.0: array}
    return {float(z): array[array[:, 2] == z, :2] for z in np.unique(array[:, 2])}


def _checked(points: Any, where: str, *, columns: tuple[int, ...] = (2,)) -> Array:
    try:
        array = np.asarray(points, np.float64)
    except (TypeError, ValueError):
        raise UserError("holds points that are not numbers", where, _FORM) from None
    if array.ndim != 2 or array.shape[1] not in columns:
        raise UserError("is not a list of points", where, _FORM)
    if not np.isfinite(array).all():
        raise UserError("the contour holds points that are not finite", where)
    return array


def _drawn(points: Array) -> tuple[Array, float]:
    """Draw the inside as a mask (H, W) uint8 with a margin of 4 pixels; also returns millimetres per pixel."""
    from skimage.draw import polygon

    extent = np.ptp(points, axis=0)
    if not extent.all():
        raise UserError("the contour encloses no area")
    pixel = float(extent.max()) / _SIDE
    column, row = ((points - points.min(axis=0)) / pixel + 4).T
    mask = np.zeros((int(np.ceil(row.max())) + 5, int(np.ceil(column.max())) + 5), np.uint8)
    mask[polygon(row, column, mask.shape)] = 255
    return mask, pixel
