"""`qupath`: annotations of QuPath as GeoJSON beside their slides (Bankhead et al., Scientific Reports 2017).

A slide too large to be read whole is read in tiles, through tiffslide or OpenSlide where one is installed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pydantic import Field

from medzoo.data.annotated import Annotated, AnnotatedParams, AnnotatedPictures, Shape, ring
from medzoo.data.annotation_files import read_json
from medzoo.data.dataset import DataEntry, Item, Note, Sample
from medzoo.data.file_names import is_hidden
from medzoo.data.sighting import Listing, Sighting
from medzoo.errors import UserError
from medzoo.io.formats import FORMATS, suffix
from medzoo.io.slide import SLIDES, open_slide
from medzoo.types import Array, Image

_SUFFIXES = {ending for f in FORMATS if f.name == "picture" for ending in f.suffixes} | set(SLIDES)
_LARGE = 200 << 20  # bytes of a file that is cut into tiles
_LEAST = 0.05  # share of a shape that a tile must hold to show it


class Params(AnnotatedParams):
    """Parameters of `qupath`: the folder, and how slides are cut."""

    tile: int | None = Field(default=None, ge=64, description="side of square tiles, pixels; absent: whole pictures")
    downsample: float = Field(default=1.0, ge=1, description="how many of the slide's pixels become one, in tiles")
    regions: str | None = Field(
        default=None, description="class of the annotations that were read completely: only tiles inside one are taken"
    )
    unclassified: str | None = Field(default=None, description="label of objects without a class; absent: refused")


class QuPath(AnnotatedPictures):
    """NAME.geojson beside NAME.tif, .svs and so on (also NAME.tif.geojson). Holes of polygons are holes.

    Groups are also "slide". Tiles without an object are taken as well; without `regions` those that hold no tissue
    (nearly white, or of one shade) are left out.
    """

    params: Params

    def read(self) -> Iterable[Annotated]:
        root = self.params.root
        paths = [p for p in sorted(root.rglob("*json")) if not is_hidden(p, root=root)]
        for path in paths:
            features = geojson_features(path)
            if features is None:
                continue
            image = self._slide(path)
            shapes, lines = self._shapes(features, str(path))
            notes = (Note("shape", f"{lines} points or lines have no area and are left out"),) if lines else ()
            ident = image.relative_to(root).as_posix()
            whole = Annotated(
                ident, image, shapes, str(path), files={"annotation": path}, groups={"slide": ident}, notes=notes
            )
            if self.params.tile is None:
                yield replace(whole, shapes=tuple(s for s in shapes if s.label != self.params.regions))
            else:
                yield from self._tiles(whole, self.params.tile)

    def _slide(self, path: Path) -> Path:
        name = path.name.removesuffix(".geojson").removesuffix(".json")
        beside = [p for p in sorted(path.parent.iterdir()) if suffix(p) in _SUFFIXES or p.suffix.lower() in SLIDES]
        named = [p for p in beside if name in (p.name, p.stem)]
        if len(named) != 1:
            have = f"could be {named[0].name} or {named[1].name}" if named else "does not exist"
            raise UserError(f"its picture {have}", str(path), f"put {name}.tif, or the like, beside it")
        return named[0]

    def _shapes(self, features: list[Any], where: str) -> tuple[tuple[Shape, ...], int]:
        shapes, lines = [], 0
        for number, feature in enumerate(features, 1):
            place = f"feature {number}"
            geometry, facts = feature.get("geometry") or {}, feature.get("properties") or {}
            kind = geometry.get("type")
            if kind not in ("Polygon", "MultiPolygon"):
                lines += 1
                continue
            named = facts.get("classification")
            label = (named.get("name") if isinstance(named, dict) else named) or self.params.unclassified
            if not label:
                hint = "give it a class, or set data.unclassified to the label that it has"
                raise UserError(f"{place} has no class", where, hint)
            polygons = geometry["coordinates"] if kind == "MultiPolygon" else [geometry["coordinates"]]
            rings = tuple(ring(np.ravel(one).tolist(), place, where) for polygon in polygons for one in polygon)
            shapes.append(Shape(str(label), f"{place} ({label})", rings=rings))
        return tuple(shapes), lines

    def _tiles(self, whole: Annotated, side: int) -> Iterable[Annotated]:
        """The tiles of a slide, each with the shapes of which it holds enough."""
        scale = self.params.downsample
        with open_slide(whole.image) as slide:
            width, height = (int(n / scale) for n in slide.dimensions)
            regions = [s for s in whole.shapes if s.label == self.params.regions]
            if self.params.regions is not None and not regions:
                raise UserError(f"has no annotation of the class {self.params.regions!r}", whole.where)
            extents = [(s, np.concatenate(s.rings) / scale) for s in whole.shapes if s.label != self.params.regions]
            for y in range(0, max(1, height - side + 1), side):
                for x in range(0, max(1, width - side + 1), side):
                    corners = np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]], float)
                    if regions and not any(_inside(corners, region, scale) for region in regions):
                        continue
                    shapes = tuple(_moved(s, (x, y), scale) for s, points in extents if _shown(points, x, y, side))
                    if not regions and not shapes and slide.is_blank(x, y, side, scale):
                        continue
                    yield replace(whole, id=f"{whole.id}#{x},{y}", shapes=shapes, notes=())

    def load(self, item: Item) -> Sample:
        """See AnnotatedPictures.load; of a tile its own pixels."""
        if self.params.tile is None:
            return super().load(item)
        x, y = map(int, item.id.rpartition("#")[2].split(","))
        with open_slide(item.files["image"]) as slide:
            array = slide.read(x, y, self.params.tile, self.params.downsample)
        image = Image(array, None, source=f"{item.files['image']}#{x},{y}")
        return self.sample(item, image, clip=True)


def geojson_features(path: Path) -> list[Any] | None:
    """The features of a GeoJSON file; None for other JSON. Raises UserError for text that is no JSON."""
    document = read_json(path)
    if isinstance(document, dict) and document.get("type") == "FeatureCollection":
        rows = document.get("features")
        return rows if isinstance(rows, list) else None
    rows = [document] if isinstance(document, dict) else document
    mine = isinstance(rows, list) and all(isinstance(row, dict) and row.get("type") == "Feature" for row in rows)
    return rows if mine and rows else None


def _shown(points: Array, x: int, y: int, side: int) -> bool:
    """True if a tile holds enough of the box about a shape."""
    low, high = points.min(axis=0), points.max(axis=0)
    inside = np.minimum(high, [x + side, y + side]) - np.maximum(low, [x, y])
    return bool((inside > 1).all() and inside.prod() >= _LEAST * max(1e-9, float((high - low).prod())))


def _moved(shape: Shape, corner: tuple[int, int], scale: float) -> Shape:
    return replace(shape, rings=tuple(one / scale - corner for one in shape.rings))


def _inside(corners: Array, region: Shape, scale: float) -> bool:
    from skimage.measure import points_in_poly

    odd = np.zeros(len(corners), int)
    for one in region.rings:
        odd += points_in_poly(corners, one / scale)
    return bool((odd % 2 == 1).all())


def recognise(listing: Listing) -> Sighting | None:
    """GeoJSON files of features."""
    names = listing.matching("*.geojson")
    found = [features for name in names if (features := geojson_features(listing.path(name))) is not None]
    if not found:
        return None
    named = [(row.get("properties") or {}).get("classification") for features in found for row in features]
    labels = sorted({str(one.get("name") if isinstance(one, dict) else one) for one in named if one})
    params: dict[str, Any] = {} if all(named) else {"unclassified": labels[0] if len(labels) == 1 else "object"}
    labels += [params["unclassified"]] if params and params["unclassified"] not in labels else []
    slides = [
        n
        for n in listing.files
        if PurePosixPath(n).suffix.lower() in SLIDES and listing.path(n).stat().st_size > _LARGE
    ]
    why = f"{len(found)} GeoJSON files of {len(labels)} classes"
    if slides:
        params["tile"] = 512
        why += f"; {len(slides)} slides are too large to be read whole, and cut into tiles"
    return Sighting(("detect", "segment"), tuple(labels), why, params)


ENTRY = DataEntry(Params, ("detect", "segment"), QuPath, image="picture or slide", recognise=recognise)
