"""Small made-up pictures whose brightness tells the class, as a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medzoo.data.dataset import Item, Sample
from medzoo.errors import UserError
from medzoo.types import Image

LABELS = ("dark", "light", "bright")


class Toys:
    """`count` pictures of several sizes; those named in `broken` cannot be read, `blank` hold no numbers."""

    def __init__(self, count: int, *, broken: Sequence[str] = (), blank: Sequence[str] = (), classes: int = 3) -> None:
        self.count, self.broken, self.blank, self.classes = count, broken, blank, classes
        self.reads = 0

    def items(self) -> list[Item]:
        return [
            Item(f"p{i:02}", {"image": Path(f"p{i:02}.png")}, stratum=LABELS[i % self.classes])
            for i in range(self.count)
        ]

    def load(self, item: Item) -> Sample:
        self.reads += 1
        if item.id in self.broken:
            raise UserError("is truncated", where=f"{item.id}.png")
        number = int(item.id[1:])
        rng = np.random.default_rng(number)
        target = number % self.classes
        shape = (1, 40 + number % 5, 50 + number % 7)
        array = (60 * target + rng.integers(0, 60, shape)).astype(np.uint8)
        if item.id in self.blank:
            array = np.full(shape, np.nan, np.float32)
        return Sample(item, Image(array, None, item.id), target)
