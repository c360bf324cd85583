"""Made-up pictures that are bright above and dark below, and a tiny classifier whose guard knows them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medzoo.data.dataset import Item, Sample
from medzoo.data.opened import OpenData
from medzoo.data.split import Split, split_digest
from medzoo.export.guarded import add_guard
from medzoo.types import Array, Image
from tests.unit.serve.graphs import write_graph


def sky(seed: int, *, side: int = 64) -> Array:
    """(side, side + 8) uint8: bright above, dark below, a dark disc somewhere, and fine grain."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, : side + 8]
    array = np.linspace(rng.uniform(180, 220), rng.uniform(30, 60), side)[:, None] + rng.normal(0, 6, y.shape)
    centre, radius = rng.uniform(16, side - 16, 2), rng.uniform(5, 10)
    array[(y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2] -= 25
    return np.clip(array, 0, 255).astype(np.uint8)


class Skies:
    """`count` of these pictures."""

    def __init__(self, count: int) -> None:
        self.count = count

    def items(self) -> list[Item]:
        return [Item(f"p{n:03}", {"image": Path(f"p{n:03}.png")}) for n in range(self.count)]

    def load(self, item: Item) -> Sample:
        return Sample(item, Image(sky(int(item.id[1:]))[None], None, item.id), 0)


def opened(count: int = 160) -> OpenData:
    """Of `count` pictures a quarter for validation."""
    data = Skies(count)
    items = data.items()
    names = [item.id for item in items]
    parts = {"train": names[count // 4 :], "val": names[: count // 4], "test": []}
    lists = {part: tuple(found) for part, found in parts.items()}
    return OpenData(data, items, Split(**lists, digest=split_digest(lists), group="none"))


def guarded_graph(path: Path, *, task: str = "classify", count: int = 160) -> Path:
    """The toy graph of a task with a guard fitted to these pictures."""
    raw = write_graph(path, task).read_bytes()
    example = {"image": sky(999)[None, None].astype(np.float32)}
    path.write_bytes(add_guard(raw, opened(count), example=example, where=path.name))
    return path
