"""Format `geojson`: findings on pictures as GeoJSON in pixels, as QuPath reads it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.errors import UserError
from medzoo.escape import json_text
from medzoo.imaging.measures import Measures
from medzoo.imaging.polygons import polygons
from medzoo.io.atomic import atomic_write
from medzoo.plots.colours import colour_of
from medzoo.results import Detections, Result, Segmentation
from medzoo.types import Array
from medzoo.writer import Writer

_NAMESPACE = uuid.UUID("6f0d8f0e-6d1c-5b0e-9c6e-1d3c7a5f2b90")  # of the ids of medzoo's objects


class GeoJsonWriter(Writer):
    """NAME.geojson of each picture: a FeatureCollection (RFC 7946) of detections, or of connected parts of labels.

    Coordinates are pixels of the picture, edges of the first at 0, as QuPath has them. A mask is a polygon along its
    pixels' edges, with its holes, in several parts a MultiPolygon; a detection without a mask is its box. QuPath reads
    `objectType`, `classification` (name and colour), `name` and `measurements`.
    """

    @classmethod
    def suffixes(cls, task: str) -> Sequence[str]:
        """See Writer.suffixes."""
        return (".geojson",)

    def write(self, result: Result, base: Path) -> Result:
        """See Writer.write."""
        if not isinstance(result, Segmentation | Detections) or result.image.affine is not None:
            raise UserError(
                "GeoJSON holds boxes and masks of pictures alone", result.input, "use --format labels or csv"
            )
        features = [
            {"type": "Feature", "id": str(uuid.uuid5(_NAMESPACE, f"{base.name}/{number}")), **feature}
            for number, feature in enumerate(_features(result), 1)
        ]
        text = json_text({"type": "FeatureCollection", "features": features}) + "\n"
        atomic_write(base.with_name(f"{base.name}.geojson"), lambda handle: handle.write(text.encode()))
        return result


def _features(result: Segmentation | Detections) -> Iterator[dict[str, Any]]:
    if isinstance(result, Segmentation):
        for one in result.components():
            corner = int(one.box[1]), int(one.box[0])
            yield _feature(result.labels[one.value], one.value - 1, polygons(one.mask, corner=corner), one.measures)
        return
    for n in result.by_score:
        label, score = int(result.classes[n]), round(float(result.scores[n]), 6)
        rings = []
        if result.masks is not None:
            corner, mask = result.masks.crop(int(n))
            rings = polygons(mask, corner=corner)
        if not rings:
            x0, y0, x1, y1 = (float(v) for v in result.boxes[n])
            rings = [[_closed_box(x0, y0, x1, y1)]]
        yield _feature(result.labels[label], label, rings, result.measures(int(n)), score=score)


def _closed_box(x0: float, y0: float, x1: float, y1: float) -> Array:
    return np.round([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]], 3)


def _feature(
    label: str, number: int, parts: list[list[Array]], measures: Measures, **measured: float
) -> dict[str, Any]:
    coordinates = [[ring.tolist() for ring in rings] for rings in parts]
    one = len(coordinates) == 1
    numbers = {
        name: float(value)
        for name, value in (measured | measures.to_columns()).items()
        if isinstance(value, int | float)  # QuPath's measurements are numbers; a truth value is 0 or 1
    }
    return {
        "geometry": {
            "type": "Polygon" if one else "MultiPolygon",
            "coordinates": coordinates[0] if one else coordinates,
        },
        "properties": {
            "objectType": "annotation",
            "name": label,
            "classification": {"name": label, "color": list(colour_of(number))},
            "measurements": numbers,
        },
    }


ENTRY = GeoJsonWriter
