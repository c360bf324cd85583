"""Lesions of multiple sclerosis for a FLAIR scan: where they lie, their shapes, and how bright they are.

Sites after Filippi et al., Brain 142:1858 (2019): around the ventricles, mostly, along the small veins and so away
from them; beside the cortex, deep in white matter, and some below the tentorium. Sizes and contrasts are those of
one patient's scan at 1 mm (Lesjak et al., Neuroinformatics 2017) with a wide margin: half are below 3 mm across.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from medzoo.data.generator.structures import INFRATENTORIAL_WHITE, SUPRATENTORIAL_WHITE, table
from medzoo.data.generator.warp import smooth_field
from medzoo.imaging.resize import stretch
from medzoo.types import Array

# Millimetres from the lateral ventricles, and from the cortex, within which a lesion is called after them.
PERIVENTRICULAR, JUXTACORTICAL = 7.0, 3.5
# Of periventricular, juxtacortical, deep and infratentorial lesions.
_SHARES = (0.42, 0.2, 0.3, 0.08)
_RADIUS, _SPREAD = 1.8, 0.45  # millimetres: the median, and the standard deviation of its logarithm
_LEAST, _LARGEST = 0.9, 7.0
_FAINTEST, _BRIGHTEST = 0.2, 1.4  # above white matter, which is 1
_OUTLINED = 0.3  # of its brightness: raters draw around all that they see of a lesion, its faint rim too
_STEP = 2  # sites are looked for at every other voxel


@dataclass(frozen=True, eq=False)
class _Blob:
    """`axes` (3, 3): columns are unit vectors, the first that of its length; `radii` (3,) along them, voxels."""

    centre: Array
    axes: Array
    radii: Array


def draw_lesions(
    labels: Array, rng: np.random.Generator, *, count: tuple[int, int], bright: float = 0.5
) -> tuple[Array, Array]:
    """Draw lesions: their addition to the scan (*shape) float32, white matter being 1, and their mask (*shape) bool.

    Some scans have lesions in bands along the ventricles' walls beside the drawn number of single ones.

    `labels`: label bytes (I, J, K) at about 1 mm; `count`: least and largest number drawn, uniform in its logarithm;
    `bright`: how far above white matter a usual one lies. Some lie so near each other that they become one. None lies
    in fluid.
    """
    glow, mask = np.zeros(labels.shape, np.float32), np.zeros(labels.shape, bool)
    white = table(*SUPRATENTORIAL_WHITE, *INFRATENTORIAL_WHITE)[labels]
    solid = white | table(3, 42, 10, 11, 12, 49, 50, 51)[labels]
    sites = _Sites(labels)
    number = round(math.exp(rng.uniform(math.log(count[0]), math.log(count[1] + 1) - 1e-9))) if count[1] else 0
    shares = rng.dirichlet(8 * np.array(_SHARES))
    usual = bright * math.exp(rng.normal(0, 0.25))
    if number and rng.random() < 0.3:
        _add_bands(glow, mask, white, sites.ventricle, usual, rng)
    for _ in range(number):
        kind = int(rng.choice(4, p=shares))
        blobs = sites.draw(kind, rng)
        own = min(max(usual * math.exp(rng.normal(0, 0.35)), _FAINTEST), _BRIGHTEST)
        # Most end at the cortex; where they do not, they reach into grey matter.
        inside = white if rng.random() < 0.85 else solid
        for blob in blobs:
            _draw(glow, mask, inside, blob, own, rng)
    return glow, mask


def _add_bands(
    glow: Array, mask: Array, white: Array, ventricle: Array, bright: float, rng: np.random.Generator
) -> None:
    """Lesions that have run together along the walls of the ventricles, some millimetres thick, in place."""
    if not np.isfinite(ventricle).all():
        return
    patchy = smooth_field(rng, glow.shape, spacing=rng.uniform(10, 22)) - np.float32(rng.uniform(0.3, 1.2))
    distance = stretch(ventricle, glow.shape)
    rim = np.float32(rng.uniform(2.5, 7)) * patchy - distance + 1
    profile = white / (1 + np.exp(np.clip(-rim / np.float32(rng.uniform(0.3, 0.8)), -30, 30)))
    np.maximum(glow, np.float32(bright) * profile, out=glow)
    mask |= profile > _OUTLINED


class _Sites:
    """Places (N, 3) by kind, and distances from ventricles and cortex, all on every other voxel."""

    def __init__(self, labels: Array) -> None:
        few = np.ascontiguousarray(labels[::_STEP, ::_STEP, ::_STEP])
        white, below = table(*SUPRATENTORIAL_WHITE)[few], table(*INFRATENTORIAL_WHITE)[few]
        self.ventricle = _distance(table(4, 43, 5, 44)[few])
        self.cortex = _distance(table(3, 42)[few])
        near, beside = self.ventricle < PERIVENTRICULAR, self.cortex < JUXTACORTICAL
        masks = (white & near & (self.cortex > 2), white & beside & ~near, white & ~near & ~beside, below)
        self.places = [np.argwhere(mask) for mask in masks]

    def draw(self, kind: int, rng: np.random.Generator) -> list[_Blob]:
        """One lesion: a blob, or a group of them that run into each other; nothing where there is no such place."""
        places = self.places[kind]
        if not len(places):
            return []
        place = places[rng.integers(len(places))]
        centre = _STEP * place + rng.integers(0, _STEP, 3)
        radius = _RADIUS * math.exp(rng.normal(0, _SPREAD)) * (1.25 if kind == 0 else 1.0)
        away = _gradient(self.ventricle if kind != 1 else self.cortex, place)
        # Around the ventricles they point away from them (Dawson's fingers); beside the cortex they lie along it.
        length = {0: rng.uniform(1, 2.6), 1: 1 / rng.uniform(1, 2.2)}.get(kind, rng.uniform(1, 1.8))
        direction = away if kind < 2 else rng.standard_normal(3)
        blobs = [_blob(centre, direction, radius, length, rng)]
        if rng.random() < (0.25 if kind == 0 else 0.1):
            for _ in range(int(rng.integers(1, 6))):
                step = rng.standard_normal(3)
                # Beside each other along the wall, not away from it.
                step -= 0.7 * (step @ away) * away
                step *= rng.uniform(1.0, 2.2) * radius / max(float(np.linalg.norm(step)), 1e-6)
                near = blobs[-1].centre + step
                blobs.append(_blob(near, direction, radius * rng.uniform(0.6, 1.3), length, rng))
        return blobs


def _distance(mask: Array) -> Array:
    """Millimetres, about, from the nearest of the mask; far everywhere where it is empty."""
    if not mask.any():
        return np.full(mask.shape, np.inf)
    found: Array = _STEP * distance_transform_edt(~mask)
    return found


def _gradient(field: Array, place: Array) -> Array:
    """The unit vector (3,) along which `field` rises at `place`; any direction where it is flat."""
    rise = np.zeros(3)
    for axis in range(3):
        ends = [place.copy(), place.copy()]
        ends[0][axis], ends[1][axis] = max(place[axis] - 1, 0), min(place[axis] + 1, field.shape[axis] - 1)
        rise[axis] = field[tuple(ends[1])] - field[tuple(ends[0])]
    size = float(np.linalg.norm(rise)) if np.isfinite(rise).all() else 0.0
    return rise / size if size > 0 else np.array([1.0, 0.0, 0.0])


def _blob(centre: Array, direction: Array, radius: float, length: float, rng: np.random.Generator) -> _Blob:
    """An ellipsoid of the volume of a ball of `radius`, `length` times as long along `direction` as across."""
    radius = min(max(radius, _LEAST), _LARGEST)
    # Any two vectors make a whole frame of the first.
    axes = np.linalg.qr(np.column_stack([direction, rng.standard_normal((3, 2))]))[0]
    across = length ** (-1 / 3) * math.exp(rng.uniform(-0.15, 0.15))
    radii = radius * np.array([length ** (2 / 3), across, length ** (-2 / 3) / across])
    return _Blob(np.asarray(centre, float), axes, radii)


def _draw(glow: Array, mask: Array, inside: Array, blob: _Blob, bright: float, rng: np.random.Generator) -> None:
    """Add one blob to `glow` and `mask` in place: an ellipsoid whose rim smooth noise moves in and out."""
    reach = np.ceil(1.5 * np.abs(blob.axes * blob.radii).max(axis=1)).astype(int) + 3
    middle = np.rint(blob.centre).astype(int)
    low, high = np.maximum(middle - reach, 0), np.minimum(middle + reach + 1, glow.shape)
    if (low >= high).any():
        return
    window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    grid = np.stack(np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high, strict=True)], indexing="ij"), axis=-1)
    distance = np.linalg.norm((grid - blob.centre) @ blob.axes / blob.radii, axis=-1)
    radius = float(np.prod(blob.radii)) ** (1 / 3)
    noise = gaussian_filter(rng.standard_normal(distance.shape), max(0.8, 0.45 * radius))
    rim = 1 - distance + rng.uniform(0, 0.4) * noise / max(float(noise.std()), 1e-6)
    profile = inside[window] / (1 + np.exp(-rim * radius / rng.uniform(0.25, 0.8)))
    grain = gaussian_filter(rng.standard_normal(distance.shape), 1.0)
    uneven = 1 + rng.uniform(0, 0.25) * grain / max(float(grain.std()), 1e-6)
    np.maximum(glow[window], (bright * profile * uneven).astype(np.float32), out=glow[window])
    mask[window] |= profile > _OUTLINED
