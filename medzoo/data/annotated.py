"""Pictures with drawn shapes (boxes, polygons, masks), shared by the layouts of annotation tools.

Coordinates are continuous, x before y, and count from the upper left corner of the first pixel, which spans 0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import Field

from medzoo.data.annotation_files import patient_of, patient_pattern
from medzoo.data.audit.groups import NearGroups, near_duplicate_groups
from medzoo.data.dataset import DataParams, Item, Note, Objects, Part, Sample
from medzoo.data.instances import stack_layers
from medzoo.data.objects import checked_objects
from medzoo.data.picture_size import PIXELS, Pixels, Size, on_picture
from medzoo.errors import UserError
from medzoo.io import read_image
from medzoo.types import Array, Image

Place = tuple[slice, ...]
_CORNERS = 64  # of the polygon that stands for an ellipse


class AnnotatedParams(DataParams):
    """Parameters of every layout of pictures with shapes."""

    root: Path = Field(description="the folder of the pictures and their annotations")
    patient: str | None = Field(
        default=None,
        description='regular expression on the picture\'s name whose first group is the patient: "^(.+?)_"',
    )
    clip: bool = Field(
        default=False, description="cut boxes to the picture instead of refusing; drop those that are then empty"
    )
    pixels: Pixels | None = Field(default=None, description=PIXELS)


@dataclass(frozen=True, eq=False)
class Shape:
    """One object: a box (x0, y0, x1, y1), or its outline as rings (N, 2), or as a mask of the whole picture.

    What lies in an even number of rings is outside, so a ring within another is a hole. `place`: its name in errors.
    """

    label: str
    place: str
    box: tuple[float, float, float, float] | None = None
    rings: tuple[Array, ...] = ()
    mask: Callable[[tuple[int, int]], Array] | None = None

    @property
    def outlined(self) -> bool:
        """True where more is known of it than a box."""
        return bool(self.rings) or self.mask is not None


@dataclass(frozen=True, eq=False)
class Annotated:
    """A picture with its shapes. `where`: the file that lists them; `size`: the width and height that it states.

    `relative`: coordinates are shares of width and height. `files`: what it was read from, beside the picture.
    """

    id: str
    image: Path
    shapes: tuple[Shape, ...]
    where: str
    size: Size | None = None
    relative: bool = False
    part: Part | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()


class AnnotatedPictures:
    """Base of the layouts: `read` lists the pictures. Tasks are detect, and segment where every shape has an outline.

    Groups are "image", "near-duplicate", and "patient" where `patient` says how the name tells it.
    """

    def __init__(self, params: AnnotatedParams, task: str, labels: Sequence[str]) -> None:
        self.params, self.task, self.labels = params, task, tuple(labels)
        self.patient = patient_pattern(params.patient)

    def read(self) -> Iterable[Annotated]:
        """All pictures. Raises UserError that names the file."""
        raise NotImplementedError

    @cached_property
    def found(self) -> dict[str, Annotated]:
        """The pictures by id. Raises UserError for two of one id."""
        found: dict[str, Annotated] = {}
        for one in self.read():
            if one.id in found:
                raise UserError(f"the picture {one.id!r} is listed twice", one.where, "give each picture one entry")
            found[one.id] = one
        if not found:
            raise UserError("holds no annotated picture", str(self.params.root), "check data.root")
        return found

    @cached_property
    def near(self) -> dict[str, str]:
        """The near-duplicate group of each picture."""
        return near_duplicate_groups({name: one.image for name, one in self.found.items()})

    def items(self) -> Sequence[Item]:
        """Every picture by id; one without a shape has no object."""
        items = []
        for name in sorted(self.found):
            one = self.found[name]
            groups = {"image": name, **one.groups}
            if self.patient is not None:
                groups["patient"] = patient_of(self.patient, one.image.name, str(one.image))
            near = NearGroups(groups, name, lambda: self.near)
            items.append(Item(name, {"image": one.image, **one.files}, near, part=one.part))
        return items

    def load(self, item: Item) -> Sample:
        """The picture with its objects, or with the map of its labels. Raises UserError that names the shape."""
        return self.sample(item, read_image(item.files["image"], kind="picture"))

    def sample(self, item: Item, image: Image, *, clip: bool = False) -> Sample:
        """`load` of a picture that was read already; `clip`: as data.clip."""
        one = self.found[item.id]
        unknown = next((shape for shape in one.shapes if shape.label not in self.first_labels), None)
        if unknown is not None:
            text = f"the label {unknown.label!r} is not one of {', '.join(self.first_labels)}"
            raise UserError(text, f"{one.where}: {unknown.place}", "name it in the recipe's labels")
        if self.task == "segment":
            target, notes = self._map(one, image)
            return Sample(item, image, target, notes=(*one.notes, *notes))
        return Sample(item, image, self._objects(one, image, clip=clip or self.params.clip), notes=one.notes)

    @property
    def first_labels(self) -> tuple[str, ...]:
        """Labels that a shape may have: of a segmentation all but the background."""
        return self.labels[1:] if self.task == "segment" else self.labels

    def _scale(self, one: Annotated, image: Image) -> Array:
        """(2,) width and height that shares are of; ones where coordinates are pixels."""
        height, width = image.shape
        turned = int(image.meta.get("exif_orientation", 1)) > 4 and self.params.pixels == "stored"
        size = (height, width) if turned else (width, height)
        return np.array(size if one.relative else (1.0, 1.0), float)

    def _objects(self, one: Annotated, image: Image, *, clip: bool) -> Objects:
        scale, where = self._scale(one, image), one.where
        size = (image.shape[0], image.shape[1])
        boxes = np.array([_box(shape, scale, size, where) for shape in one.shapes], float).reshape(-1, 4)
        numbers = [self.labels.index(shape.label) for shape in one.shapes]
        placed = on_picture(boxes, image, stated=one.size, pixels=self.params.pixels, where=where)
        for shape, box in zip(one.shapes, placed, strict=True):
            checked_objects([box.tolist()], [0], image.shape, f"{where}: {shape.place}", clip=clip)

        def masks(kept: Array) -> Array:
            _refuse_turned(boxes, placed, where)
            found = (shape_mask(one.shapes[k], size, scale=scale, where=where) for k in kept)
            return stack_layers(((n, *part) for n, part in enumerate(found)), size)

        outlined = all(shape.outlined for shape in one.shapes)
        return checked_objects(
            placed.tolist(), numbers, image.shape, where, clip=clip, masks=masks if outlined else None
        )

    def _map(self, one: Annotated, image: Image) -> tuple[Array, list[Note]]:
        """The label map, a later shape over an earlier one, and what it covered of other labels."""
        scale, size = self._scale(one, image), (image.shape[0], image.shape[1])
        corners = np.zeros((1, 4))
        placed = on_picture(corners, image, stated=one.size, pixels=self.params.pixels, where=one.where)
        _refuse_turned(corners, placed, one.where)
        target, covered = np.zeros(size, np.uint8), 0
        for shape in one.shapes:
            place, mask = shape_mask(shape, size, scale=scale, where=one.where)
            number = self.labels.index(shape.label)
            crop = target[place]
            covered += int((mask & (crop != 0) & (crop != number)).sum())
            crop[mask] = number
        text = f"{covered} pixels lie in shapes of two labels; the later shape has them"
        return target, [Note("overlap", text)] if covered else []


def shape_mask(shape: Shape, size: tuple[int, int], *, scale: Array, where: str) -> tuple[Place, Array]:
    """The block of a picture of `size` (H, W) that holds a shape, and its mask there: pixels whose centre is inside.

    Raises UserError for a shape without an outline, and one that covers no pixel.
    """
    place: Place = (slice(0, size[0]), slice(0, size[1]))
    if shape.mask is not None:
        mask = shape.mask(size)
    elif shape.rings:
        rings = [ring * scale for ring in shape.rings]
        place, mask = _filled(rings, size)
    else:
        hint = "learn boxes (task detect, no model.mask), or draw polygons"
        raise UserError("is a box without an outline, and outlines are to be learnt", f"{where}: {shape.place}", hint)
    if not mask.any():
        raise UserError("its outline covers no pixel of the picture", f"{where}: {shape.place}")
    return place, mask


def fill_rings(rings: Sequence[Array], size: tuple[int, int]) -> Array:
    """The mask (H, W) of pixels whose centre lies in an odd number of `rings` (N, 2) of x and y."""
    place, part = _filled(rings, size)
    mask = np.zeros(size, bool)
    mask[place] = part
    return mask


def _filled(rings: Sequence[Array], size: tuple[int, int]) -> tuple[Place, Array]:
    from skimage.draw import polygon2mask

    every = np.concatenate(rings)
    low = np.clip(np.floor(every.min(axis=0)).astype(int), 0, [size[1] - 1, size[0] - 1])
    high = np.clip(np.ceil(every.max(axis=0)).astype(int), low + 1, size[::-1])
    mask = np.zeros((high[1] - low[1], high[0] - low[0]), bool)
    for ring in rings:
        mask ^= polygon2mask(mask.shape, ring[:, ::-1] - low[::-1] - 0.5)
    return (slice(low[1], high[1]), slice(low[0], high[0])), mask


def paste(crop: Array, corner: tuple[int, int], size: tuple[int, int], *, place: str, where: str) -> Array:
    """The mask (H, W) of a picture of `size` that is `crop` from `corner` (row, column) on. Raises UserError."""
    mask = np.zeros(size, bool)
    part = mask[corner[0] : corner[0] + crop.shape[0], corner[1] : corner[1] + crop.shape[1]]
    if min(corner) < 0 or part.shape != crop.shape:
        raise UserError("its mask reaches beyond the picture", f"{where}: {place}")
    part[:] = crop
    return mask


def ellipse(centre: tuple[float, float], radii: tuple[float, float], *, turned: float = 0.0) -> Array:
    """An ellipse as a polygon (64, 2) of the same area; `turned`: degrees, from x to y."""
    angles = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    grown = math.sqrt(2 * np.pi / (_CORNERS * math.sin(2 * np.pi / _CORNERS)))
    points = np.column_stack([radii[0] * np.cos(angles), radii[1] * np.sin(angles)]) * grown
    c, s = math.cos(math.radians(turned)), math.sin(math.radians(turned))
    around: Array = points @ np.array([[c, s], [-s, c]]) + centre
    return around


def rectangle(x: float, y: float, width: float, height: float, *, turned: float = 0.0) -> Array:
    """The corners (4, 2) of a rectangle, turned about its upper left corner; `turned`: degrees, from x to y."""
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], float)
    c, s = math.cos(math.radians(turned)), math.sin(math.radians(turned))
    placed: Array = corners @ np.array([[c, s], [-s, c]]) + (x, y)
    return placed


def ring(values: Sequence[float], place: str, where: str) -> Array:
    """A polygon (N, 2) of x, y, x, y, ... Raises UserError for fewer than three corners, or what is no number."""
    points = np.asarray(values, float).reshape(-1)
    if points.size < 6 or points.size % 2 or not np.isfinite(points).all():
        raise UserError(
            f"{place} is no polygon: {points.size} numbers", where, "three corners or more, x and y of each"
        )
    return points.reshape(-1, 2)


def _box(shape: Shape, scale: Array, size: tuple[int, int], where: str) -> list[float]:
    if shape.box is not None:
        return [float(v) for v in np.asarray(shape.box) * np.tile(scale, 2)]
    if shape.rings:
        points = np.concatenate(shape.rings) * scale
        return [*map(float, points.min(axis=0)), *map(float, points.max(axis=0))]
    assert shape.mask is not None
    rows, columns = np.nonzero(shape.mask(size))
    if not len(rows):
        raise UserError("its outline covers no pixel of the picture", f"{where}: {shape.place}")
    return [float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)]


def _refuse_turned(boxes: Array, placed: Array, where: str) -> None:
    if not np.array_equal(boxes, placed):
        raise UserError("its outlines are of the picture before it was turned", where, "save the picture upright")
