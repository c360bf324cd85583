"""Prepared scans held for patches and crops: arrays after the host steps, and where each class lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from medzoo.data.dataset import DataSet, Item
from medzoo.errors import UserError
from medzoo.nn.net import Geometry
from medzoo.preprocess.step import HostStep
from medzoo.preprocess.steps import apply_steps
from medzoo.types import Array

# Places remembered of each class in each scan; balanced drawing needs no more, and memory stays bounded.
_PLACES = 200_000
IGNORED = 255  # the target of voxels that no loss counts: unknown, or outside the scan


@dataclass(frozen=True, eq=False)
class Volume:
    """One scan: `array` float32 (C, *spatial), `target` uint8 (*spatial), and flat indices by class."""

    array: Array
    target: Array
    places: tuple[Array, ...]


class Volumes(Sequence[Volume]):
    """The scans of one side of the split. Data that make their scans (`renewed`) give others in later epochs.

    What an epoch holds depends on the epoch alone, so that a resumed run sees what a stopped one would have.
    """

    def __init__(
        self, items: Callable[[int], Sequence[Item]], load: Callable[[Item], Volume], *, renewed: bool
    ) -> None:
        self._items, self._load, self._renewed = items, load, renewed
        self._held = list(items(0))
        self._volumes = [load(item) for item in self._held]

    def at(self, epoch: int) -> Volumes:
        """The same object, holding the scans of `epoch`."""
        if self._renewed:
            for place, item in enumerate(self._items(epoch)):
                if item.facts != self._held[place].facts:
                    self._held[place], self._volumes[place] = item, self._load(item)
        return self

    def __len__(self) -> int:
        return len(self._volumes)

    @overload
    def __getitem__(self, index: int) -> Volume: ...

    @overload
    def __getitem__(self, index: slice) -> list[Volume]: ...

    def __getitem__(self, index: int | slice) -> Volume | list[Volume]:
        return self._volumes[index]


def at_epoch(volumes: Sequence[Volume], epoch: int) -> Sequence[Volume]:
    """The scans of `epoch`."""
    return volumes.at(epoch) if isinstance(volumes, Volumes) else volumes


def load_volumes(
    data: DataSet,
    items: Sequence[Item],
    steps: Sequence[HostStep],
    *,
    geometry: Geometry,
    labels: int,
    seed: int,
) -> Volumes:
    """Read and prepare `items`; slices of a scan come first where the graph takes slices of a volume.

    Raises UserError that names the file if a target has values outside the labels.
    """

    def load(item: Item) -> Volume:
        sample = data.load(item)
        image, frame = apply_steps(sample.image, steps)
        target = frame.mask_from_source(np.asarray(sample.target, np.uint8))
        array = np.asarray(image.array, np.float32)
        if geometry.dims == 2 and array.ndim == 4:
            array = np.ascontiguousarray(np.moveaxis(array, geometry.axis + 1, 1))
            target = np.ascontiguousarray(np.moveaxis(target, geometry.axis, 0))
        highest = int(target.max(initial=0, where=target != IGNORED))
        if highest >= labels:
            raise UserError(
                f"the label file has the value {highest}, the recipe names {labels} labels",
                where=str(item.files.get("label", item.id)),
            )
        return Volume(array, target, _places(array, target, geometry, labels, seed))

    renewed = getattr(data, "renewed", None)
    if renewed is None:
        return Volumes(lambda epoch: items, load, renewed=False)
    return Volumes(lambda epoch: renewed(items, epoch), load, renewed=True)


def _places(array: Array, target: Array, geometry: Geometry, labels: int, seed: int) -> tuple[Array, ...]:
    rng = np.random.default_rng(seed)
    scored = array[0] != 0 if geometry.foreground == "nonzero" else np.ones(target.shape, bool)
    places = []
    for label in range(labels):
        found = np.flatnonzero((target == label) & scored)
        if len(found) > _PLACES:
            found = np.sort(rng.choice(found, _PLACES, replace=False))
        places.append(found)
    return tuple(places)


def draw(volumes: Sequence[Volume], rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """`count` places with equal chances for every class that occurs: (volume index, flat index), each (count,).

    Raises UserError if no class occurs at all.
    """
    labels = len(volumes[0].places)
    present = [c for c in range(labels) if any(len(v.places[c]) for v in volumes)]
    if not present:
        raise UserError("no voxel of any label lies in the foreground of the training scans")
    classes = rng.permutation(np.resize(np.asarray(present), count))
    which = np.empty(count, np.int64)
    flat = np.empty(count, np.int64)
    for label in present:
        mine = np.flatnonzero(classes == label)
        sizes = np.array([len(v.places[label]) for v in volumes], float)
        which[mine] = rng.choice(len(volumes), size=len(mine), p=sizes / sizes.sum())
        for index in np.unique(which[mine]):
            here = mine[which[mine] == index]
            flat[here] = rng.choice(volumes[index].places[label], size=len(here))
    return which, flat
