"""Prepared scans held for patches and crops: arrays after the host steps, and where each class lies.

They are held in memory up to a bound. Beyond it a scan is a memory map: of its own file where no step computes anything
and the file is not packed, else of what the cache on disk keeps of it. Its pages are let go of after each use, so
memory stays flat however many scans there are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import overload

import numpy as np

from medzoo.data.dataset import Dataset, EpochDataset, Item
from medzoo.errors import UserError
from medzoo.io.cache import cached, file_digest
from medzoo.io.channels import to_channels
from medzoo.io.mapping import map_of, mapped, release
from medzoo.preprocess.step import HostStep
from medzoo.preprocess.steps import apply_steps
from medzoo.runtime.metadata import Geometry
from medzoo.types import IGNORED, Array

# Places remembered of each class in each scan; balanced drawing needs no more, and memory stays bounded.
_PLACES = 200_000
LIMIT = 1 << 30  # bytes of scans that one process holds


@dataclass(frozen=True, eq=False)
class Volume:
    """One scan: `array` (C, *spatial), float32 or as its file stores it, `target` uint8 (*spatial), and flat indices
    by class."""

    array: Array
    target: Array
    places: tuple[Array, ...]

    def release(self) -> None:
        """Let go of the memory of what is mapped."""
        for array in (self.array, self.target, *self.places[:1]):  # the places lie in one map
            release(array)


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A scan's arrays; `places`: how many each class has, then all of them, class by class. `in_file`: `array` is a
    view of the scan's own file."""

    array: Array
    target: Array
    places: Array
    in_file: bool


class _InFile(Exception):  # noqa: N818  (no error: it tells the cache that there is nothing to keep)
    """The scan needs no copy."""


class Volumes(Sequence[Volume]):
    """The scans of one side of the split. Data that make their scans (`renewed`) give others in later epochs.

    What an epoch holds depends on the epoch alone, so that a resumed run sees what a stopped one would have. Scans that
    are made are made when the first of them is asked for: a training does not wait for those of its validation.
    """

    def __init__(
        self, items: Callable[[int], Sequence[Item]], load: Callable[[Item], Volume], *, renewed: bool
    ) -> None:
        self._items, self._load, self._renewed = items, load, renewed
        self._held = list(items(0))
        if not renewed:
            self._volumes = [load(item) for item in self._held]

    @cached_property
    def _volumes(self) -> list[Volume]:
        # Scans that are made take long, and not in the interpreter.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(self._load, self._held))

    @cached_property
    def sizes(self) -> Array:
        """(scans, classes) int: how many voxels of each class are remembered of each scan."""
        return np.array([[len(places) for places in volume.places] for volume in self._volumes])

    def at(self, epoch: int) -> Volumes:
        """The same object, holding the scans of `epoch`."""
        if self._renewed:
            for place, item in enumerate(self._items(epoch)):
                if item.facts != self._held[place].facts:
                    self._held[place], self._volumes[place] = item, self._load(item)
                    self.sizes[place] = [len(places) for places in self._volumes[place].places]
        return self

    def __len__(self) -> int:
        return len(self._held)

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
    data: Dataset,
    items: Sequence[Item],
    steps: Sequence[HostStep],
    *,
    geometry: Geometry,
    labels: int,
    seed: int,
    key: str = "",
    limit: int = LIMIT,
) -> Volumes:
    """Read and prepare `items`; slices of a scan come first where the graph takes slices of a volume.

    `key`: what the data set makes of its files, for the cache; `limit`: bytes that are held in memory.
    Raises UserError that names the file if a target has values outside the labels, or a scan other sequences than the
    graph.
    """
    renewed = data.items_at_epoch if isinstance(data, EpochDataset) else None
    left = limit
    beginning = [item.facts for item in renewed(items, 0)] if renewed is not None else []

    def prepared(item: Item) -> _Prepared:
        with mapped():
            sample = data.load(item)
            state = apply_steps(to_channels(sample.image, geometry.channels), steps)
            image, transform = state.image, state.transform
        target = transform.mask_from_source(np.asarray(sample.target, np.uint8))
        in_file = map_of(image.array) is not None
        array = image.array if in_file else np.asarray(image.array, np.float32)
        if geometry.dims == 2 and array.ndim == 4:
            array, target = np.moveaxis(array, geometry.axis + 1, 1), np.moveaxis(target, geometry.axis, 0)
        highest = int(target.max(initial=0, where=target != IGNORED))
        if highest >= labels:
            raise UserError(
                f"the label file has the value {highest}, the recipe names {labels} labels",
                where=str(item.files.get("label", item.id)),
            )
        array = array if in_file else np.ascontiguousarray(array)
        target = np.ascontiguousarray(target)
        places = _places(array, target, geometry, labels, seed)
        sizes = [len(found) for found in places]
        return _Prepared(array, target, np.concatenate([sizes, *places]).astype(np.int64), in_file)

    def from_cache(item: Item, path: Path) -> _Prepared:
        others = [file_digest(file) for file in list(item.files.values())[1:]]
        cache_key = repr(
            (key, item.id, item.facts, others, [step.model_dump() for step in steps], geometry, labels, seed)
        )
        once = cache(lambda: prepared(item))

        def whole() -> Array:
            if once().in_file:
                raise _InFile
            return once().array

        try:
            array, in_file = cached(path, f"array {cache_key}", whole), False
        except _InFile:
            array, in_file = once().array, True
        target = cached(path, f"target {cache_key}", lambda: once().target)
        return _Prepared(array, target, cached(path, f"places {cache_key}", lambda: once().places), in_file)

    def load(item: Item) -> Volume:
        nonlocal left
        path = next(iter(item.files.values()), None)
        if renewed is not None:
            # What is made anew in every epoch is held; what every run begins with is kept for the next run.
            first = path is not None and item.facts in beginning
            made = _in_memory(from_cache(item, path)) if first and path is not None else prepared(item)
        elif left > 0 or path is None:
            made = prepared(item)
            left -= made.target.nbytes + made.places.nbytes + (0 if made.in_file else made.array.nbytes)
        else:
            made = from_cache(item, path)
        sizes = made.places[:labels]
        ends = labels + np.cumsum(sizes)
        places = tuple(made.places[end - size : end] for end, size in zip(ends, sizes, strict=True))
        volume = Volume(made.array, made.target, places)
        volume.release()
        return volume

    if renewed is None:
        return Volumes(lambda epoch: items, load, renewed=False)
    return Volumes(lambda epoch: renewed(items, epoch), load, renewed=True)


def _in_memory(scan: _Prepared) -> _Prepared:
    return replace(scan, array=np.array(scan.array), target=np.array(scan.target), places=np.array(scan.places))


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


def sample_places(volumes: Sequence[Volume], rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """`count` places with equal chances for every class that occurs: (volume index, flat index), each (count,).

    Raises UserError if no class occurs at all.
    """
    counts = volumes.sizes if isinstance(volumes, Volumes) else np.array([[len(p) for p in v.places] for v in volumes])
    present = [int(c) for c in np.flatnonzero(counts.any(axis=0))]
    if not present:
        raise UserError("no labelled voxel lies in the foreground of any training scan")
    classes = rng.permutation(np.resize(np.asarray(present), count))
    which = np.empty(count, np.int64)
    flat = np.empty(count, np.int64)
    for label in present:
        mine = np.flatnonzero(classes == label)
        sizes = counts[:, label].astype(float)
        which[mine] = rng.choice(len(volumes), size=len(mine), p=sizes / sizes.sum())
        for index in np.unique(which[mine]):
            here = mine[which[mine] == index]
            flat[here] = rng.choice(volumes[index].places[label], size=len(here))
    return which, flat


def sample_foreground(
    volumes: Sequence[Volume], rng: np.random.Generator, count: int, *, share: float
) -> tuple[Array, Array]:
    """`count` places, every scan equally likely: (volume index, flat index), each (count,).

    Of the crops a `share`, rounded up, lies around a voxel of one of the scan's foreground classes, each class equally
    likely; the others, and those of scans without foreground, around any scored voxel (Isensee et al., 2021). Raises
    UserError if no class occurs at all.
    """
    counts = volumes.sizes if isinstance(volumes, Volumes) else np.array([[len(p) for p in v.places] for v in volumes])
    usable = np.flatnonzero(counts.any(axis=1))
    if not len(usable):
        raise UserError("no labelled voxel lies in the foreground of any training scan")
    which = rng.choice(usable, size=count)
    wanted = rng.permutation(count) < int(np.ceil(share * count))
    flat = np.empty(count, np.int64)
    for number, index in enumerate(which):
        present = np.flatnonzero(counts[index])
        objects = present[present > 0]
        if wanted[number] and len(objects):
            label = rng.choice(objects)
        else:
            label = rng.choice(present, p=counts[index][present] / counts[index].sum())
        flat[number] = rng.choice(volumes[index].places[label])
    return which, flat
