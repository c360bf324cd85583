"""Small made-up pictures with bright rectangles on dark ground, as a detection data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medzoo.data.dataset import Item, Objects, Sample
from medzoo.errors import UserError
from medzoo.types import Array, Image


def rectangle(height: int, width: int, boxes: Array) -> Array:
    """(1, height, width) uint8, 200 inside the boxes and 20 outside."""
    array = np.full((1, height, width), 20, np.uint8)
    for x0, y0, x1, y1 in np.asarray(boxes, int).reshape(-1, 4):
        array[:, y0:y1, x0:x1] = 200
    return array


class ToyScenes:
    """`count` pictures of several sizes; every third has no object; those named in `broken` cannot be read."""

    def __init__(self, count: int, *, broken: Sequence[str] = ()) -> None:
        self.count, self.broken = count, broken
        self.reads = 0

    def items(self) -> list[Item]:
        return [Item(f"s{i:02}", {"image": Path(f"s{i:02}.png")}, groups={"image": str(i)}) for i in range(self.count)]

    def load(self, item: Item) -> Sample:
        self.reads += 1
        if item.id in self.broken:
            raise UserError("is truncated", where=f"{item.id}.png")
        number = int(item.id[1:])
        rng = np.random.default_rng(number)
        height, width = 80 + number % 5, 100 + number % 7
        boxes = np.zeros((0, 4), np.float32)
        if number % 3:
            x, y = rng.integers(5, 50), rng.integers(5, 40)
            boxes = np.array([[x, y, x + rng.integers(20, 40), y + rng.integers(20, 35)]], np.float32)
        array = rectangle(height, width, boxes) + rng.integers(0, 10, (1, height, width)).astype(np.uint8)
        return Sample(item, Image(array, None, item.id), Objects(boxes, np.zeros(len(boxes), np.int64)))
