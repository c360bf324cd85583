"""Slices of volumes as scenes: each with its neighbours as channels, and the boxes of what it cuts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from medzoo.data.dataset import Dataset, Item
from medzoo.data.objects import component_boxes
from medzoo.data.volumes import slab_mask, whole_volume_item
from medzoo.errors import UserError
from medzoo.inputs.scenes import Scene, ScenePictures
from medzoo.inputs.volumes import LIMIT
from medzoo.io.cache import cached
from medzoo.io.channels import to_channels
from medzoo.io.mapping import release
from medzoo.preprocess.step import HostStep
from medzoo.preprocess.steps import apply_steps
from medzoo.runtime.decode.slices import slice_with_neighbours
from medzoo.runtime.metadata import Geometry
from medzoo.types import Array

# A slice that shows fewer voxels of an object has no box of it. All anchors around a box much smaller than them
# overlap it alike, and so many equals teach the proposals that everything is tiny.
SMALLEST = 4


class SliceScenes(ScenePictures):
    """Every slice with some signal of the items' volumes, whether it cuts an object or not.

    The steps are taken on whole volumes, as prediction takes them, also where an item is a slab of one: levels and
    margins of a slab would be others. Volumes are held prepared, each once, in memory up to `room` bytes, beyond it in
    the cache on disk (`key`: what the data set makes of its files, for the cache).

    Raises UserError that names the file for a volume without a label map.
    """

    keeps = False

    def __init__(
        self,
        data: Dataset,
        items: Sequence[Item],
        steps: Sequence[HostStep],
        *,
        geometry: Geometry,
        labels: int,
        size: tuple[int, int],
        key: str = "",
        room: int = LIMIT,
    ) -> None:
        self.geometry = geometry
        # By file and facts: slabs of one volume share it, while scans that are made of one file do not.
        self._stacks: dict[tuple[str, str], Array] = {}
        self._places: list[tuple[tuple[str, str], int]] = []
        self._found: list[tuple[Array, Array, Array]] = []
        slices: list[Item] = []
        for item in items:
            sample = data.load(whole_volume_item(item))
            where = str(next(iter(item.files.values()), item.id))
            volume = where, repr(whole_volume_item(item).facts)
            if sample.mask is None or sample.mask.ndim != 3:
                raise UserError("has no label map", where, "detectors learn slices from label maps")
            state = apply_steps(to_channels(sample.image, geometry.channels), steps)
            image, transform = state.image, state.transform
            stack = np.moveaxis(np.asarray(image.array, np.float32), geometry.axis + 1, 0)
            target, mine = (
                np.moveaxis(transform.mask_from_source(mask), geometry.axis, 0)
                for mask in (sample.mask, slab_mask(item, sample.mask.shape))
            )
            for place in np.flatnonzero(stack.any(axis=(1, 2, 3)) & mine.any(axis=(1, 2))):
                self._places.append((volume, int(place)))
                outlines = (target[place] > 0) & (target[place] <= labels)
                self._found.append((*_objects(target[place], labels), outlines))
                slices.append(replace(item, id=f"{item.id}#{place}"))
            if volume in self._stacks:
                continue
            path = next(iter(item.files.values()), None)
            if room <= 0 and path is not None:
                made = partial(np.ascontiguousarray, stack)
                cache_key = repr((key, whole_volume_item(item).id, [step.model_dump() for step in steps], geometry))
                stack = cached(path, f"slices {cache_key}", made)
            room -= stack.nbytes
            self._stacks[volume] = stack
        channels = geometry.channels * geometry.slices
        super().__init__(data, slices, steps, channels=channels, size=size)

    def stored(self, index: int) -> Scene:
        """See ScenePictures.stored."""
        volume, place = self._places[index]
        array = np.array(slice_with_neighbours(self._stacks[volume], place, self.geometry.slices // 2))
        release(self._stacks[volume])
        return Scene(array, *self._found[index])


def _objects(target: Array, labels: int) -> tuple[Array, Array]:
    """Boxes (N, 4) and labels (N,) of the connected parts of one slice; values are 1 more than labels."""
    boxes = [component_boxes(target == label + 1, smallest=SMALLEST) for label in range(labels)]
    return np.concatenate(boxes), np.repeat(np.arange(labels), [len(found) for found in boxes])
