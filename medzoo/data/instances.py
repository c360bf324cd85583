"""Instance masks of one image, as label maps in layers.

Layers are (L, *spatial): object k, in the order of the boxes, has the value k + 1 in one of them. Objects that overlap
lie in different layers, so that nothing of them is lost; of most data one layer is enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from medzoo.types import Array

NUMBER = np.uint16  # of objects in an image
MOST = int(np.iinfo(NUMBER).max)


def stack_layers(masks: Iterable[tuple[int, tuple[slice, ...], Array]], shape: Sequence[int]) -> Array:
    """Layers (L, *shape) of objects, each a number k, the part of the image that holds it, and its mask there."""
    layers = [np.zeros(shape, NUMBER)]
    for number, place, mask in masks:
        free = (layer for layer in layers if not layer[place][mask].any())
        layer = next(free, None)
        if layer is None:
            layer = np.zeros(shape, NUMBER)
            layers.append(layer)
        layer[place][mask] = number + 1
    return np.stack(layers)


def renumber_layers(layers: Array, kept: Array, count: int) -> Array:
    """Layers in which of `count` objects those of `kept` (K,) are the objects 0 to K - 1, and the others are gone."""
    table = np.zeros(count + 1, NUMBER)
    table[np.asarray(kept, int) + 1] = np.arange(1, len(kept) + 1)
    changed: Array = table[layers]
    return changed


def boxes_of(layers: Array, count: int) -> Array:
    """(count, 2n) float64 boxes, half open, of the objects in layers; zeros of an object without a pixel."""
    from scipy.ndimage import find_objects

    n = layers.ndim - 1
    boxes = np.zeros((count, 2 * n))
    for layer in layers:
        for number, place in enumerate(find_objects(layer.astype(np.int32), max_label=count)):
            if place is not None:
                axes = place[::-1] if n == 2 else place
                boxes[number] = [*(one.start for one in axes), *(one.stop for one in axes)]
    return boxes


def areas_of(layers: Array, count: int) -> Array:
    """(count,) pixels or voxels of each object."""
    areas: Array = np.bincount(layers.ravel(), minlength=count + 1)[1 : count + 1]
    return areas
