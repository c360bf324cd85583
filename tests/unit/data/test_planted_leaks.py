"""A hundred leaks planted among real ultrasound pictures are all found, under every seed; a thousand unrelated
pictures give no group."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageDraw
from scipy.ndimage import gaussian_filter

from medzoo.data.audit.groups import compute_fingerprints
from medzoo.data.audit.near_duplicates import near_duplicates, near_groups
from medzoo.types import Array

EACH = 10
Draw = np.random.Generator


def crop(a: Array, draw: Draw) -> Array:
    """60 % of the area, anywhere."""
    height, width = (int(n * 0.6**0.5) for n in a.shape)
    y, x = (int(draw.integers(0, n - m + 1)) for n, m in zip(a.shape, (height, width), strict=True))
    return a[y : y + height, x : x + width]


def resized(a: Array, factor: float) -> Array:
    size = (int(a.shape[1] * factor), int(a.shape[0] * factor))
    return np.asarray(Pillow.fromarray(a).resize(size, Pillow.Resampling.BILINEAR))


def brightness(a: Array, draw: Draw) -> Array:
    return np.clip(a * draw.uniform(0.6, 1.5) + draw.uniform(-30, 30), 0, 255).astype(np.uint8)


def lettered(a: Array, draw: Draw) -> Array:
    picture = Pillow.fromarray(a)
    for _ in range(3):
        at = (int(draw.integers(0, a.shape[1] // 2)), int(draw.integers(0, a.shape[0] - 30)))
        ImageDraw.Draw(picture).text(at, "RT BREAST 3H 12 mm", fill=255, font_size=22)
    return np.asarray(picture)


PLANTS: dict[str, Callable[[Array, Draw], Array]] = {
    "copy": lambda a, draw: a.copy(),
    "crop": crop,
    "crop, larger": lambda a, draw: resized(crop(a, draw), 1.5),
    "mirrored": lambda a, draw: a[:, ::-1],
    "upside down": lambda a, draw: a[::-1],
    "mirrored crop": lambda a, draw: crop(a, draw)[:, ::-1],
    "brightness": brightness,
    "crop, brightness": lambda a, draw: brightness(crop(a, draw), draw),
    "rescaled": lambda a, draw: resized(a, draw.uniform(0.4, 1.6)),
    "lettered": lettered,
}


def planted(pictures: list[Array], draw: Draw) -> tuple[list[Array], dict[tuple[int, int], str]]:
    """The pictures with EACH of every plant behind them, and which pairs they make."""
    every, truth = list(pictures), {}
    for name, plant in PLANTS.items():
        for k in draw.permutation(len(pictures))[:EACH]:
            truth[int(k), len(every)] = name
            every.append(np.ascontiguousarray(plant(pictures[k], draw)))
    return every, truth


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_leaks_among_real_pictures_are_found(shared_data: Path, seed: int) -> None:
    paths = [p for p in sorted((shared_data / "busi").glob("*/*.png")) if "_mask" not in p.name]
    pictures = [np.asarray(Pillow.open(path).convert("L")) for path in paths]
    every, truth = planted(pictures, np.random.default_rng(seed))
    assert len(truth) == 100
    pairs = near_duplicates(compute_fingerprints([lambda a=a: a for a in every]))  # type: ignore[misc]
    found = {(pair.a, pair.b) for pair in pairs}
    assert not [(name, paths[pair[0]].name) for pair, name in truth.items() if pair not in found]
    # What was not planted is what the pictures hold without plants: 112 groups alike at 32 x 32, a few crops more.
    among = [(pair.a, pair.b) for pair in pairs if pair.b < len(pictures)]
    sizes = np.unique(near_groups(len(pictures), among), return_counts=True)[1]
    assert 112 <= (sizes > 1).sum() <= 122


def unrelated(seed: int) -> Array:
    """A picture of one of four looks: speckle, layers with speckle, blobs on a dark ground, fine grain."""
    draw = np.random.default_rng(seed)
    noise = [gaussian_filter(draw.standard_normal((160, 200)), s) * s for s in (1.2, 4, 10, 30)]
    look = seed % 4
    if look == 0:
        picture = sum(noise)
    elif look == 1:
        layers = gaussian_filter(draw.standard_normal(160), 5)[:, None] * 12
        picture = (layers + noise[2]) * (1 + 0.5 * noise[0])
    elif look == 2:
        picture = np.maximum(noise[2] + noise[3] - 0.5, 0) * 2 + 0.2 * noise[0]
    else:
        picture = noise[0] + 0.3 * noise[3]
    low, high = np.percentile(picture, [1, 99])
    return np.clip(20 + 180 * (picture - low) / (high - low), 0, 255).astype(np.uint8)


@pytest.mark.long
def test_a_thousand_unrelated_pictures_give_no_group() -> None:
    prints = compute_fingerprints([lambda k=k: unrelated(k) for k in range(1000)])  # type: ignore[misc]
    assert near_duplicates(prints) == []
