"""Parts of pictures that detectors learn from: tiles of pictures beyond the canvas, and random parts of the canvas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from medzoo.augment.augmentation import VISIBLE, Labelled
from medzoo.data.dataset import Dataset, Item
from medzoo.data.instances import areas_of, boxes_of, renumber_layers
from medzoo.inputs.scenes import Scene, ScenePictures
from medzoo.preprocess.step import HostStep
from medzoo.runtime.decode.tiles import needs_tiles
from medzoo.types import Array

Size = tuple[int, int]
_ROOM = 1.5  # sides of what is cut out before the augmentations, in those of the part that is left afterwards
_ON_OBJECT = 0.8  # share of parts that are laid about an object


class TiledScenes(ScenePictures):
    """Scenes of which those that prediction reads in tiles (medzoo.runtime.decode.tiles) are tiles themselves.

    Tiles of `tile` x `tile` pixels share a picture evenly; neighbours overlap no more than they must.
    """

    def __init__(
        self, data: Dataset, items: Sequence[Item], steps: Sequence[HostStep], *, tile: int, **options: Any
    ) -> None:
        self._places: list[tuple[Item, tuple[slice, slice] | None]] = []
        for item in items:
            height, width = data.load(item).image.shape[:2]
            if not needs_tiles((height, width), tile):
                self._places.append((item, None))
                continue
            rows, columns = _starts(height, tile), _starts(width, tile)
            self._places += [(item, (slice(y, y + tile), slice(x, x + tile))) for y in rows for x in columns]
        super().__init__(data, [item for item, _ in self._places], steps, **options)

    def stored(self, index: int) -> Scene:
        """See ScenePictures.stored."""
        scene = super().stored(index)
        _, place = self._places[index]
        return scene if place is None else cut_scene(scene, place)


def cut_scene(scene: Scene, place: tuple[slice, slice]) -> Scene:
    """A part of a scene with the objects of which enough is left in it."""
    cut = cut_part(Labelled(scene.array, scene.boxes, scene.labels, scene.layers), place)  # type: ignore[arg-type]
    mask = None if scene.mask is None else np.ascontiguousarray(scene.mask[place])
    ignored = scene.ignored
    if ignored is not None:
        beside = cut_part(Labelled(scene.array, ignored.boxes, ignored.labels), place)  # type: ignore[arg-type]
        ignored = replace(ignored, boxes=beside.boxes.astype(np.float32), labels=beside.labels)
    boxes = cut.boxes.astype(np.float32)
    return Scene(np.ascontiguousarray(cut.image), boxes, cut.labels, mask, cut.masks, ignored)


def cut_part(sample: Labelled, place: tuple[slice, slice]) -> Labelled:
    """A part of a picture; an object of which less than VISIBLE is left is dropped, the others have the box of what
    is left."""
    rows, columns = place
    image = sample.image[:, rows, columns]
    height, width = image.shape[1:]
    shift = np.array([columns.start, rows.start, columns.start, rows.start], float)
    boxes = np.clip(sample.boxes - shift, 0, [width, height, width, height])
    if sample.masks is None:
        left, whole = _area(boxes), _area(sample.boxes)
        kept = np.flatnonzero((left >= VISIBLE * whole) & (left >= 1))
        return Labelled(image, boxes[kept], sample.labels[kept])
    count = len(boxes)
    masks = np.ascontiguousarray(sample.masks[:, rows, columns])
    left, whole = areas_of(masks, count), areas_of(sample.masks, count)
    kept = np.flatnonzero((left > 0) & (left >= VISIBLE * whole))
    return Labelled(image, boxes_of(masks, count)[kept], sample.labels[kept], renumber_layers(masks, kept, count))


def random_part(sample: Labelled, size: Size, rng: np.random.Generator) -> Labelled:
    """A part of a picture, larger than `size` by the room that turning it needs; most parts are laid about an object,
    so that few are empty."""
    height, width = sample.image.shape[1:]
    sides = [min(math.ceil(_ROOM * wanted), length) for wanted, length in zip(size, (height, width), strict=True)]
    free = [length - side for side, length in zip(sides, (height, width), strict=True)]
    corner = rng.integers(0, np.add(free, 1))
    on_object, which, shift = rng.random(), rng.random(), rng.uniform(-0.25, 0.25, 2)
    if len(sample.boxes) and on_object < _ON_OBJECT:
        x0, y0, x1, y1 = sample.boxes[int(which * len(sample.boxes))]
        middle = np.array([y0 + y1, x0 + x1]) / 2
        corner = np.clip(np.rint(middle - np.array(sides) / 2 + shift * np.array(size)), 0, free).astype(int)
    y, x = (int(value) for value in corner)
    return cut_part(sample, (slice(y, y + sides[0]), slice(x, x + sides[1])))


def middle_part(sample: Labelled, size: Size) -> Labelled:
    """The middle of a picture."""
    y, x = ((length - side) // 2 for length, side in zip(sample.image.shape[1:], size, strict=True))
    return cut_part(sample, (slice(y, y + size[0]), slice(x, x + size[1])))


def _starts(length: int, tile: int) -> list[int]:
    count = max(1, -(-length // tile))
    return [0] if count == 1 else [round(k * (length - tile) / (count - 1)) for k in range(count)]


def _area(boxes: Array) -> Array:
    area: Array = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return area
