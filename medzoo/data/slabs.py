"""Slabs of one volume as items of their own: blocks of its slices, named in an item's facts. Arrays only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medzoo.data.dataset import Item
from medzoo.types import Array


def slab_slices(item: Item) -> tuple[slice, ...]:
    """The slab's place in the stored volume, by `axis`, `start` and `stop` of the item's facts; of others all of it."""
    places = [slice(None)] * 3
    if "start" in item.facts:
        places[item.facts["axis"]] = slice(item.facts["start"], item.facts["stop"])
    return tuple(places)


def whole_volume_item(item: Item) -> Item:
    """The item of the whole volume that `item` is a slab of; others as they are."""
    return replace(item, facts={}) if "start" in item.facts else item


def slab_mask(item: Item, shape: tuple[int, ...]) -> Array:
    """A mask uint8 of `shape`, that of the stored volume: 1 in the item's slab."""
    mask = np.zeros(shape, np.uint8)
    mask[slab_slices(item)] = 1
    return mask
