"""Near-duplicates: planted copies are found, unrelated pictures are not, and real ones come out as known."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageDraw
from scipy.ndimage import gaussian_filter

from medzoo.data.audit.groups import compute_fingerprints, near_duplicate_groups
from medzoo.data.audit.near_duplicates import NearPair, near_duplicates, near_groups
from medzoo.types import Array

SCENES = 150


def scene(seed: int, size: tuple[int, int] = (200, 256)) -> Array:
    """A speckled picture with coarse and fine structure, uint8."""
    draw = np.random.default_rng(seed)
    picture = sum(gaussian_filter(draw.standard_normal(size), s) * s for s in (1.5, 4, 10, 30))
    low, high = np.percentile(picture, [1, 99])
    return np.clip(20 + 180 * (picture - low) / (high - low), 0, 255).astype(np.uint8)


def crop(a: Array) -> Array:
    return a[15:175, 30:235]


def resized_crop(a: Array) -> Array:
    return np.asarray(Pillow.fromarray(a[20:190, 12:225]).resize((256, 256), Pillow.Resampling.BILINEAR))


def rescaled(a: Array) -> Array:
    return np.asarray(Pillow.fromarray(a).resize((128, 100), Pillow.Resampling.BILINEAR))


def brighter(a: Array) -> Array:
    return np.clip(a * 1.3 + 15.0, 0, 255).astype(np.uint8)


def lettered(a: Array) -> Array:
    picture = Pillow.fromarray(a)
    draw = ImageDraw.Draw(picture)
    for at in ((5, 5), (120, 90), (20, 170)):
        draw.text(at, "RT BREAST 3H 12 mm", fill=255, font_size=16)
    return np.asarray(picture)


def compressed(a: Array) -> Array:
    file = io.BytesIO()
    Pillow.fromarray(a).save(file, "JPEG", quality=35)
    return np.asarray(Pillow.open(file))


def mirrored_crop(a: Array) -> Array:
    return np.ascontiguousarray(crop(a)[:, ::-1])


def deeper(a: Array) -> Array:
    return a.astype(np.uint16) * 16


PLANTS: tuple[Callable[[Array], Array], ...] = (
    np.copy, crop, resized_crop, rescaled, brighter, lettered, compressed, np.flipud, np.fliplr, mirrored_crop, deeper
)  # fmt: skip


@pytest.fixture(scope="module")
def planted() -> tuple[list[NearPair], set[tuple[int, int]]]:
    pictures = [scene(k) for k in range(SCENES)]
    truth = set()
    for k in range(110):
        truth.add((k, len(pictures)))
        pictures.append(np.ascontiguousarray(PLANTS[k % len(PLANTS)](pictures[k])))
    return near_duplicates(compute_fingerprints([lambda a=a: a for a in pictures])), truth


def test_every_planted_duplicate_is_found(planted: tuple[list[NearPair], set[tuple[int, int]]]) -> None:
    pairs, truth = planted
    missing = truth - {(p.a, p.b) for p in pairs}
    assert not missing, [PLANTS[a % len(PLANTS)].__name__ for a, _ in missing]


def test_nothing_else_is_found(planted: tuple[list[NearPair], set[tuple[int, int]]]) -> None:
    pairs, truth = planted
    assert {(p.a, p.b) for p in pairs} <= truth


def test_the_way_of_mirroring_is_reported(planted: tuple[list[NearPair], set[tuple[int, int]]]) -> None:
    ways = {PLANTS[p.a % len(PLANTS)].__name__: p.mirrored for p in planted[0]}
    assert ways["flipud"] == "y"
    assert ways["fliplr"] == ways["mirrored_crop"] == "x"
    assert ways["copy"] == ways["crop"] == ""


def test_mirrors_count_by_choice_alone() -> None:
    pictures = [scene(0), np.ascontiguousarray(scene(0)[:, ::-1]), scene(1)]
    prints = compute_fingerprints([lambda a=a: a for a in pictures])
    assert [(p.a, p.b) for p in near_duplicates(prints)] == [(0, 1)]
    assert near_duplicates(prints, mirrored=False) == []


def test_pictures_without_contrast_are_alike_in_nothing() -> None:
    flat = [np.full((64, 64), v, np.uint8) for v in (0, 0, 200)]
    assert near_duplicates(compute_fingerprints([lambda a=a: a for a in flat])) == []
    assert near_duplicates(compute_fingerprints([lambda: scene(0)])) == []


def test_groups_are_connected_components() -> None:
    assert near_groups(6, [(1, 4), (4, 5), (0, 2)]).tolist() == [0, 1, 0, 3, 1, 1]
    assert near_groups(2, []).tolist() == [0, 1]


def test_busi_holds_the_known_groups(shared_data: Path) -> None:
    """Every pair of the public images that correlates above 0.95 at 32 x 32 falls into one group."""
    paths = {
        f"{p.parent.name}/{p.name}": p for p in sorted((shared_data / "busi").glob("*/*.png")) if "_mask" not in p.name
    }
    names = list(paths)
    small = [Pillow.open(p).convert("L").resize((32, 32), Pillow.Resampling.BOX) for p in paths.values()]
    flat = np.stack([np.asarray(s, float).ravel() for s in small])
    alike = np.argwhere(np.triu(np.corrcoef(flat), 1) > 0.95)
    assert len(alike) > 150
    groups = near_duplicate_groups(paths)
    assert all(groups[names[a]] == groups[names[b]] for a, b in alike)
    sizes = np.unique(list(groups.values()), return_counts=True)[1]
    assert 112 <= (sizes > 1).sum() <= 122
    # A crop that correlates at 0.88 only, under two labels.
    assert groups["benign/benign (333).png"] == groups["malignant/malignant (78).png"]
