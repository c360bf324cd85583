"""Tiled detection in pictures that are much larger than the detector's canvas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from medzoo.boxes import box_intersection, box_size
from medzoo.errors import UserError
from medzoo.imaging.instance_masks import InstanceMasks
from medzoo.types import Array, GridTransform

Size = tuple[int, int]
OVERLAP = 0.5
"""IoU from which boxes of one class in two tiles are one object."""
SMALLEST = 32
"""Height and width, in pixels, of the smallest tile."""
SLACK = 1 / 16
"""Of a tile: how far beyond its own part of the picture a tile still answers, so that no object falls between two."""
BEYOND = 1.5
"""Of a detector made for tiles: the longer side, in tiles, from which a picture is read in them."""
_EDGE = 1.5  # pixels from a seam within which a box counts as cut by it
Boxes = tuple[Array, Array, Array, Array | None]
"""Boxes (N, 4) as x0, y0, x1, y1, scores (N,), classes (N,), and masks (N, m, m) inside the boxes, None without."""


@dataclass(frozen=True)
class Tile:
    """A window of a picture, and the part of it that belongs to no other tile."""

    top: int
    left: int
    bottom: int
    right: int
    own: tuple[float, float, float, float]
    """x0, y0, x1, y1."""


def check_tile(tile: Any, canvas: Size | None) -> Size:
    """Return height and width of a tile from True (the canvas) or two numbers. Raises UserError."""
    if tile is True:
        if canvas is None:
            raise UserError(
                "the graph's input size is unknown; give the tile size yourself", "tile", "as in tile=(512, 640)"
            )
        return canvas
    try:
        height, width = (int(n) for n in tile if int(n) == n and not isinstance(n, bool))
    except (TypeError, ValueError, OverflowError):
        height = width = 0
    if min(height, width) < SMALLEST:
        raise UserError(
            f"{tile!r} is not a height and width of at least {SMALLEST} pixels", "tile", "as in tile=(512, 640)"
        )
    return height, width


def needs_tiles(size: Size, tile: int) -> bool:
    """Return True if a picture of this height and width is one that a detector made for tiles of `tile` reads in them:
    shrunk to one tile, its objects would lose a third of their size."""
    return max(size) > BEYOND * tile


def tiles(size: Size, tile: Size) -> Iterator[Tile]:
    """Yield the tiles of a picture, row by row.

    Neighbours overlap by half or more, so that an object of up to half a tile lies entirely in the tile that owns its
    centre.
    """
    rows, columns = (_along(length, side) for length, side in zip(size, tile, strict=True))
    for top, bottom, y0, y1 in rows:
        for left, right, x0, x1 in columns:
            yield Tile(top, left, bottom, right, (x0, y0, x1, y1))


def _along(length: int, side: int) -> list[tuple[int, int, float, float]]:
    """Return start and end of each tile along an axis, and of the part that it owns."""
    if length <= side:
        return [(0, length, 0.0, float(length))]
    count = 1 + -(-(length - side) // max(1, side // 2))
    starts = [round(k * (length - side) / (count - 1)) for k in range(count)]
    borders = [0.0, *((a + b + side) / 2 for a, b in pairwise(starts)), float(length)]
    return [(start, start + side, borders[k], borders[k + 1]) for k, start in enumerate(starts)]


def detect_in_tiles(find: Callable[[Array], Boxes], picture: Array, tile: Size) -> tuple[Boxes, int]:
    """Detect in a picture (C, H, W) of any dtype; return boxes, best first, and how many a tile border may have cut.

    `find`: boxes of one tile float32 (C, h, w). One tile at a time is turned into floating point, so memory does not
    grow with the picture. A tile answers for objects whose centre lies in its own part of the picture, or close by;
    of boxes of one class that overlap by OVERLAP the best stays (greedy non-maximum suppression).
    """
    height, width = picture.shape[1:]
    if height <= tile[0] and width <= tile[1]:
        return find(np.ascontiguousarray(picture, np.float32)), 0
    boxes, scores, classes, masks, cut = [], [], [], [], []
    for one in tiles((height, width), tile):
        window = picture[:, one.top : one.bottom, one.left : one.right]
        found, how_sure, kinds, outlines = find(np.ascontiguousarray(window, np.float32))
        found = np.asarray(found, np.float32).reshape(-1, 4)
        placed = found + np.array([one.left, one.top, one.left, one.top], np.float32)
        x, y = (placed[:, :2] + placed[:, 2:]).T / 2
        x0, y0, x1, y1 = one.own
        near_y, near_x = SLACK * (one.bottom - one.top), SLACK * (one.right - one.left)
        mine = (x >= x0 - near_x) & (x < x1 + near_x) & (y >= y0 - near_y) & (y < y1 + near_y)
        seams = np.array(
            [
                one.left if one.left > 0 else -np.inf,
                one.top if one.top > 0 else -np.inf,
                one.right if one.right < width else np.inf,
                one.bottom if one.bottom < height else np.inf,
            ]
        )
        boxes.append(placed[mine])
        scores.append(how_sure[mine])
        classes.append(kinds[mine])
        if outlines is not None:
            masks.append(outlines[mine])
        cut.append((np.abs(placed[mine] - seams) <= _EDGE).any(axis=1))
    every = np.concatenate(boxes), np.concatenate(scores), np.concatenate(classes)
    halves = np.concatenate(cut)
    patches = np.concatenate(masks) if masks else None
    kept = _suppress(*every, halves, patches)
    found_masks = None if patches is None else patches[kept]
    return (every[0][kept], every[1][kept], every[2][kept], found_masks), int(halves[kept].sum())


def _suppress(boxes: Array, scores: Array, classes: Array, cut: Array, masks: Array | None = None) -> Array:
    """Non-maximum suppression that prefers whole boxes to cut ones; return the kept indices, best first.

    With `masks` those are one object whose masks overlap, not their boxes: neighbours in a crowd share much of a box.
    """
    order = np.lexsort((-scores, cut))
    area = box_size(boxes)
    size = None
    if masks is not None:
        size = tuple(int(n) for n in np.ceil(boxes.max(axis=0, initial=0))[[3, 2]])
        pasted = InstanceMasks(masks, boxes, GridTransform(size, size, np.eye(3)))
        parts = [pasted.crop(k) for k in range(len(boxes))]
        area = np.array([part.sum() for _, part in parts], float)
    free, kept = np.ones(len(boxes), bool), []
    for index in order:
        if not free[index]:
            continue
        kept.append(index)
        shared = box_intersection(boxes[index : index + 1], boxes)[0]
        if size is not None:
            for other in np.flatnonzero((shared > 0) & free):
                shared[other] = _shared(parts[index], parts[other])
        overlap = shared / np.maximum(area + area[index] - shared, 1e-9)
        # What a seam cut off lies within the whole object.
        within = cut & (shared >= OVERLAP * np.maximum(area, 1e-9))
        free &= (classes != classes[index]) | ~((overlap >= OVERLAP) | within)
    chosen = np.array(kept, np.int64)
    return chosen[np.argsort(-scores[chosen], kind="stable")]


def _shared(one: tuple[tuple[int, int], Array], other: tuple[tuple[int, int], Array]) -> int:
    """Pixels that two masks share, each the corner and the part of the picture that holds it."""
    low = np.maximum(one[0], other[0])
    high = np.minimum(np.add(one[0], one[1].shape), np.add(other[0], other[1].shape))
    if (high <= low).any():
        return 0
    first, second = (
        part[tuple(slice(a, b) for a, b in zip(low - at, high - at, strict=True))] for at, part in (one, other)
    )
    return int((first & second).sum())
