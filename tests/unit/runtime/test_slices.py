from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from medzoo.boxes import bounding_box
from medzoo.runtime.decode.slices import probability_maps, segment_array, tiles, with_margin
from medzoo.runtime.metadata import Geometry, Metadata
from medzoo.types import Array


class Blur:
    """A graph that looks `margin` pixels around: labels are 1 where the local mean of the middle slice is high."""

    name, device = "made", "cpu"

    def __init__(self, geometry: Geometry) -> None:
        self.metadata = Metadata(name="blur", task="segment", labels=("a", "b"), geometry=geometry)
        self.largest = 0

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        image = inputs["image"]
        self.largest = max(self.largest, image[0, 0].size)
        middle = image[:, image.shape[1] // 2]
        size = (1, *[5] * (middle.ndim - 1))
        mean = uniform_filter(middle, size, mode="constant")
        return {"labels": ((mean > 40) & (middle != 0)).astype(np.uint8)}


def scan(shape: tuple[int, ...]) -> Array:
    rng = np.random.default_rng(0)
    array = np.zeros((1, *shape), np.float32)
    array[0, 5:-4, 3:-6, 4:-3] = rng.uniform(1, 80, (shape[0] - 9, shape[1] - 9, shape[2] - 7))
    return array


def whole(array: Array, axis: int) -> Array:
    stack = np.moveaxis(array[0], axis, 0)
    mean = np.stack([uniform_filter(s, 5, mode="constant") for s in stack])
    return np.moveaxis(((mean > 40) & (stack != 0)).astype(np.uint8), 0, axis)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("slab", [1, 4])
@pytest.mark.parametrize("tile", [None, 7])
def test_slices_slabs_and_tiles_give_the_labels_of_whole_slices(axis: int, slab: int, tile: int | None) -> None:
    array = scan((26, 30, 22))
    geometry = Geometry(axis=axis, margin=2, foreground="nonzero", tile=tile)
    answer = segment_array(Blur(geometry), array, slab=slab)
    assert answer.dtype == np.uint8
    assert np.array_equal(answer, whole(array, axis))
    assert answer.any()


def test_slabs_of_several_slices_all_have_one_shape() -> None:
    shapes = set()

    class Shapes(Blur):
        def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
            shapes.add(inputs["image"].shape)
            return super().run(inputs, outputs)

    array = scan((26, 30, 22))
    array[0, 8:11, 3:9] = 0  # slices whose own foreground is smaller
    graph = Shapes(Geometry(axis=0, margin=2, foreground="nonzero"))
    answer = segment_array(graph, array, slab=4)
    assert shapes == {(4, 1, 25, 19)}
    assert np.array_equal(answer, whole(array, 0))


def test_a_volume_in_tiles_equals_the_volume_at_once_and_stays_small() -> None:
    array = scan((26, 30, 22))
    at_once = segment_array(Blur(Geometry(dims=3, margin=2)), array)
    tiled = Blur(Geometry(dims=3, margin=2, tile=10))
    assert np.array_equal(segment_array(tiled, array), at_once)
    assert tiled.largest <= 14**3


def test_neighbouring_slices_come_as_channels_in_order_with_zeros_beyond_the_ends() -> None:
    seen: list[Array] = []

    class Recorder(Blur):
        def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
            seen.append(inputs["image"][0, :, 0, 0].copy())
            return super().run(inputs, outputs)

    array = np.arange(1, 5, dtype=np.float32).reshape(1, 1, 1, 4) * np.ones((1, 6, 6, 1), np.float32)
    segment_array(Recorder(Geometry(slices=3, margin=2)), array)
    assert [list(s) for s in seen] == [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 0]]


def test_a_scan_without_foreground_is_background_and_never_run() -> None:
    graph = Blur(Geometry(margin=2, foreground="nonzero"))
    assert not segment_array(graph, np.zeros((1, 8, 8, 8), np.float32)).any()
    assert graph.largest == 0


def test_bounding_box_and_tiles_cover_exactly() -> None:
    array = np.zeros((9, 9))
    array[2, 3] = array[6, 7] = 1
    box = bounding_box(array)
    assert box == (slice(2, 7), slice(3, 8))
    covered = np.zeros((9, 9), int)
    for tile in tiles(box, limit=2):
        covered[tile] += 1
    assert covered.sum() == 25
    assert covered.max() == 1
    context, core = with_margin((slice(0, 3), slice(5, 8)), (9, 9), margin=2)
    assert context == (slice(0, 5), slice(3, 9))
    assert core == (slice(0, 3), slice(2, 5))


class Sure(Blur):
    """The same graph, which also says how probable it thinks each label is: (B, 2, H, W)."""

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        labels = super().run(inputs)["labels"]
        one = np.where(labels == 1, 0.8, 0.1).astype(np.float32)
        return {"labels": labels, "probabilities": np.stack([1 - one, one], 1)}


@pytest.mark.parametrize("geometry", [Geometry(axis=1, margin=2, tile=7), Geometry(dims=3, margin=2, tile=9)])
def test_probabilities_lie_where_the_labels_do(geometry: Geometry) -> None:
    graph, array = Sure(geometry.model_copy(update={"foreground": "nonzero"})), scan((26, 30, 22))
    maps = probability_maps(graph, array)
    assert maps.shape == (2, 26, 30, 22)
    assert np.array_equal(maps.argmax(0), segment_array(graph, array))
    assert not maps[:, array[0] == 0].any()
    assert set(np.unique(maps)) == {0, 26, 51, 204, 230}
