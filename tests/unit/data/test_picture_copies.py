"""Copies are distinguished from pictures that look alike: real blobs on a dark ground, real ultrasound."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo.data.audit.groups import compute_fingerprints, grey_view
from medzoo.data.audit.near_duplicates import near_duplicates, turned_duplicates
from medzoo.data.audit.picture_copies import same_picture
from medzoo.io import read_image
from medzoo.types import Array

# Nuclei that were taken for copies of one another when they were compared at 128 pixels alone: seen one by one.
BLOBS = (
    ("072ff14c1d32", "e5aeb5b3577a"),
    ("1d5f4717e179", "c6de542205b8"),
    ("9cbc07003173", "fa73f24532b3"),
    ("8b77284d6f37", "9b25b8ffd5f5"),
    ("1d5f4717e179", "72b18a405555"),
    ("4ff152d76db0", "a4c729efb505"),
)


def compressed(a: Array) -> Array:
    file = io.BytesIO()
    Pillow.fromarray(a).save(file, "JPEG", quality=40)
    return np.asarray(Pillow.open(file))


def resized(a: Array) -> Array:
    size = (int(a.shape[1] * 0.7), int(a.shape[0] * 0.8))
    return np.asarray(Pillow.fromarray(a).resize(size, Pillow.Resampling.BILINEAR))


def smaller(a: Array) -> Array:
    size = (int(a.shape[1] * 0.75), int(a.shape[0] * 0.75))
    return np.asarray(Pillow.fromarray(np.ascontiguousarray(a)).resize(size, Pillow.Resampling.BILINEAR))


def cropped(a: Array) -> Array:
    height, width = a.shape
    return a[height // 10 : height - height // 12, width // 9 : width - width // 11]


def brightened(a: Array) -> Array:
    return np.clip(a * 1.3 + 12.0, 0, 255).astype(np.uint8)


PLANTS: dict[str, Callable[[Array], Array]] = {
    "mirrored": np.fliplr,
    "upside down": np.flipud,
    "resized": resized,
    "brightened": brightened,
    "cropped": cropped,
    "a quarter turn": np.rot90,
    "three quarter turns": lambda a: np.rot90(a, 3),
    "transposed": np.transpose,
    "JPEG": compressed,
    "mirrored crop": lambda a: cropped(a)[:, ::-1],
}
TURNED: dict[str, Callable[[Array], Array]] = {
    "turned crop": lambda a: np.rot90(cropped(a)),
    "crop turned three quarters, smaller": lambda a: smaller(np.rot90(cropped(a), 3)),
    "transposed crop, brighter": lambda a: brightened(cropped(a)).T,
}


def found(pictures: list[Array]) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """Pairs that are copies, and pairs that were candidates."""
    prints = compute_fingerprints([lambda a=a: a for a in pictures])  # type: ignore[misc]
    pairs = [*near_duplicates(prints), *turned_duplicates(prints)]
    same = {(p.a, p.b) for p in pairs if same_picture(pictures[p.a], pictures[p.b], p)}
    return same, {(p.a, p.b) for p in pairs}


@pytest.mark.parametrize("plants", [PLANTS, TURNED], ids=["", "parts that were turned"])
@pytest.mark.parametrize("folder", ["nuclei/images", "busbra/Images", "busi/benign"])
def test_planted_copies_are_found_and_nothing_else(
    folder: str, plants: dict[str, Callable[[Array], Array]], shared_data: Path
) -> None:
    paths = [path for path in sorted((shared_data / folder).glob("*.png")) if "_mask" not in path.name]
    pictures = [grey_view(read_image(path)) for path in paths[: 20 * 9 : 9]]
    truth: dict[tuple[int, int], str] = {}
    for number, (name, plant) in enumerate(plants.items()):
        for k in (number, number + 10):
            truth[k, len(pictures)] = name
            pictures.append(np.ascontiguousarray(plant(pictures[k])))
    same, _ = found(pictures)
    assert [name for pair, name in truth.items() if pair not in same] == []
    assert same == truth.keys()


def test_blobs_that_look_alike_are_no_copies(shared_data: Path) -> None:
    names = sorted({name for pair in BLOBS for name in pair})
    same, candidates = found([grey_view(read_image(shared_data / f"nuclei/images/{name}.png")) for name in names])
    assert candidates  # they do look alike
    assert same == set()


def test_a_picture_with_other_marks_on_it_is_the_same_picture(shared_data: Path) -> None:
    """One scan stored for two patients, once with callipers."""
    names = ("bus_0056-l", "bus_0091-l", "bus_0056-r")
    same, _ = found([grey_view(read_image(shared_data / f"busbra/Images/{name}.png")) for name in names])
    assert (0, 1) in same
    assert (0, 2) not in same
