"""Sliding windows: every voxel of any size is predicted, alike in every order, and seams are weighted means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from medzoo.errors import UserError
from medzoo.runtime.decode.slices import probability_maps, segment_array
from medzoo.runtime.decode.windows import patch_count, sliding_window
from medzoo.runtime.metadata import Geometry, Metadata, SlidingWindow
from medzoo.runtime.predictor import Predictor
from medzoo.types import Array, Image

SHAPES = [(40, 30, 22), (16, 12, 8), (17, 13, 9), (9, 40, 5), (3, 2, 33), (64, 12, 8)]


class Toy:
    """Probability of the second label: the voxel's value, and how far it lies along each axis of its own patch."""

    name, device = "toy", "cpu"

    def __init__(self, window: SlidingWindow, *, skew: float = 0.0, foreground: str = "all") -> None:
        geometry = Geometry(dims=3, window=window, foreground=foreground)  # type: ignore[arg-type]
        self.metadata = Metadata(
            name="toy", task="segment", labels=("none", "some"), outputs=("labels", "probabilities"), geometry=geometry
        )
        self.skew, self.shapes = skew, []  # type: ignore[var-annotated]

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        image = inputs["image"]
        self.shapes.append(image.shape)
        ramp = sum(np.indices(image.shape[2:]) / np.array(image.shape[2:]).reshape(3, 1, 1, 1))
        some = np.clip(image[:, 0] * (1 - self.skew) + self.skew * ramp / 3, 0, 1).astype(np.float32)
        return {"probabilities": np.stack([1 - some, some], axis=1)}


def whole(backend: Toy, array: Array, **options: object) -> Array:
    window = backend.metadata.geometry.window
    assert window is not None
    out = np.full((2, *array.shape[1:]), np.nan, np.float32)
    for place, maps in sliding_window(backend, array, window, **options):  # type: ignore[arg-type]
        assert np.isnan(out[(slice(None), *place)]).all(), "handed out twice"
        out[(slice(None), *place)] = maps
    return out


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.75])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_depends_on_the_voxel_alone_comes_back_whole(shape: tuple[int, ...], overlap: float) -> None:
    array = np.random.default_rng(0).random((1, *shape), dtype=np.float32)
    toy = Toy(SlidingWindow(size=(16, 12, 8), overlap=overlap))
    maps = whole(toy, array)
    assert np.allclose(maps[1], array[0], atol=1e-6)
    assert set(toy.shapes) == {(1, 1, 16, 12, 8)}
    assert len(toy.shapes) == patch_count(shape, SlidingWindow(size=(16, 12, 8), overlap=overlap))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_order_of_the_patches_changes_rounding_alone(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(1).random((1, *shape), dtype=np.float32)
    toy = Toy(SlidingWindow(size=(16, 12, 8)), skew=0.7)
    one = whole(toy, array)
    for seed in range(3):
        assert np.abs(one - whole(toy, array, order=np.random.default_rng(seed))).max() < 1e-6


@pytest.mark.parametrize("shape", [(40, 30, 22), (16, 50, 8), (10, 8, 30)])
def test_the_prediction_is_the_gaussian_mean_of_all_patches(shape: tuple[int, ...]) -> None:
    """Against the definition: sum of w * p over sum of w, with w = exp(-d^2 / 2 (size / 8)^2) and a whole buffer."""
    size = (16, 12, 8)
    array = np.random.default_rng(2).random((1, *shape), dtype=np.float32)
    toy = Toy(SlidingWindow(size=size), skew=0.5)
    found = whole(toy, array)[1]
    grid = np.indices(size) - (np.array(size).reshape(3, 1, 1, 1) - 1) / 2
    weight = np.exp(-0.5 * ((grid / (np.array(size).reshape(3, 1, 1, 1) / 8)) ** 2).sum(0))
    before = [max(0, (s - n) // 2) for s, n in zip(size, shape, strict=True)]
    padded = np.pad(array[0], [(b, max(0, s - n - b)) for b, s, n in zip(before, size, shape, strict=True)])
    top, bottom = np.zeros(padded.shape), np.zeros(padded.shape)
    starts = []
    for s, n in zip(size, padded.shape, strict=True):
        count = 1 + int(np.ceil((n - s) / (s / 2)))
        starts.append(np.linspace(0, n - s, count).round().astype(int))
    for corner in np.stack(np.meshgrid(*starts, indexing="ij"), -1).reshape(-1, 3):
        place = tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))
        top[place] += weight * toy.run({"image": padded[place][None, None]})["probabilities"][0, 1]
        bottom[place] += weight
    mean = (top / bottom)[tuple(slice(b, b + n) for b, n in zip(before, shape, strict=True))]
    assert np.allclose(found, mean, atol=1e-6)


@pytest.mark.parametrize("mirror", [(0,), (1, 2), (0, 1, 2)])
def test_mirrored_views_make_the_prediction_symmetric(mirror: tuple[int, ...]) -> None:
    array = np.random.default_rng(3).random((1, 20, 12, 8), dtype=np.float32)
    window = SlidingWindow(size=(16, 12, 8), mirror=mirror)  # type: ignore[arg-type]
    toy, turned = Toy(window, skew=0.7), [1 + axis for axis in mirror]
    one, other = whole(toy, array), np.flip(whole(toy, np.flip(array, turned)), turned)
    assert np.allclose(one, other, atol=1e-6)
    plain = Toy(SlidingWindow(size=(16, 12, 8)), skew=0.7)
    assert not np.allclose(one, whole(plain, array), atol=1e-2)


def test_zeros_are_background_and_only_the_box_of_the_rest_is_run() -> None:
    array = np.zeros((1, 60, 40, 30), np.float32)
    array[0, 20:34, 10:22, 9:16] = 0.9
    array[0, 25, 15, 12] = 0
    toy = Toy(SlidingWindow(size=(16, 12, 8)), foreground="nonzero")
    labels = segment_array(toy, array)
    assert np.array_equal(labels, array[0] != 0)
    assert len(toy.shapes) == 1
    assert np.array_equal(probability_maps(toy, array)[1], np.rint(255 * array[0]).astype(np.uint8))
    assert not segment_array(toy, np.zeros_like(array)).any()


def test_memory_holds_a_row_of_patches_whichever_axis_is_long() -> None:
    import tracemalloc

    for shape in [(600, 20, 20), (20, 600, 20), (20, 20, 600)]:
        array = np.zeros((1, *shape), np.float32)
        toy = Toy(SlidingWindow(size=(16, 16, 16)))
        tracemalloc.start()
        for _, maps in sliding_window(toy, array, toy.metadata.geometry.window):  # type: ignore[arg-type]
            del maps
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 0.7 * 2 * array.nbytes, (shape, peak, array.nbytes)


@pytest.mark.parametrize(
    ("array", "affine", "words"),
    [
        (np.ones((1, 40, 30), np.float32), None, "takes volumes"),
        (np.ones((1, 40, 30, 1), np.float32), np.eye(4), "single slice"),
        (np.ones((1, 1, 30, 20), np.float32), np.eye(4), "single slice"),
    ],
)
def test_what_is_no_volume_is_refused_in_one_line(array: Array, affine: Array | None, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Predictor(Toy(SlidingWindow(size=(16, 12, 8)))).predict(Image(array, affine, "made.nii.gz"))


@pytest.mark.parametrize("bad", [{"size": (16, 16)}, {"size": (16, 0, 16)}, {"size": (8, 8, 8), "overlap": 1.0}])
def test_windows_that_cannot_be(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"size|overlap"):
        Geometry.model_validate({"dims": 3, "window": bad})


def test_a_geometry_without_windows_is_stored_as_before() -> None:
    assert "window" not in Geometry(dims=3).model_dump()
    stored = Geometry(dims=3, window=SlidingWindow(size=(8, 8, 8), mirror=(0,)))
    assert Geometry.model_validate_json(stored.model_dump_json()) == stored
