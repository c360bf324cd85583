"""Copies among volumes, also moved, mirrored, turned by right angles, resampled or with other grey values. Arrays only.

Candidates are neighbours by the amplitudes of their Fourier transform, which no shift changes, averaged over the 48
right-angled placements. Each is then placed by cross-correlation, and verified voxel by voxel on the finer grid that
both have: organs of two people are alike as wholes, but not in their fine detail.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import permutations, product

import numpy as np

from medzoo.types import Array

SIDE = 32  # of the cube that volumes are compared at
LOWEST = 7  # frequencies of the cube along each axis, from the lowest, that it is recognised by
NEAREST = 6  # neighbours of a volume that are looked at
FARTHEST = 0.15  # distance of two looks, each of length 1, beyond which nothing is tried
FOLLOWED = 3  # placements at half the resolution that are followed up
PLACED = 0.68  # least correlation of the cubes of two volumes, once placed
COARSEST = 40  # voxels along an axis at which volumes are moved onto each other first
FINEST = 96  # voxels along an axis at which copies are verified
SHARED = 0.4  # least part of the volume that both show
SAME, SAME_DETAIL = 0.9, 0.72  # least correlation of copies, and of their fine detail


@dataclass(frozen=True)
class Orientation:
    """One of the right-angled placements: the axes' order, and which of them are mirrored afterwards."""

    order: tuple[int, ...] = (0, 1, 2)
    flipped: tuple[bool, ...] = (False, False, False)

    def of(self, volume: Array) -> Array:
        """A volume (I, J, K) placed this way."""
        turned = volume.transpose(self.order)
        return turned[tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)]


@dataclass(frozen=True)
class Candidate:
    """Two volumes by number, a < b, that may be copies: the way b is placed, and the correlation of their cubes."""

    a: int
    b: int
    way: Orientation
    score: float


def thumbnail_cube(volume: Array) -> Array:
    """(32, 32, 32) float32 of a volume (I, J, K): its mean values, cut to the middle 99 %, of mean 0 and length 1.

    Planes of one value at the ends of an axis, as moving leaves them behind, hold 0, the mean.
    """
    values = np.nan_to_num(np.asarray(volume, np.float32))
    inside = tuple(_first_varied_plane(values, axis) for axis in range(3))
    low, high = np.percentile(values[inside][::2, ::2, ::2], [0.5, 99.5])
    centred = np.zeros_like(values)
    centred[inside] = np.clip(values[inside], low, high)
    centred[inside] -= centred[inside].mean()
    small = resize_volume(centred, (SIDE,) * 3)
    result: Array = small / max(float(np.linalg.norm(small)), 1e-6)
    return result


def _first_varied_plane(values: Array, axis: int) -> slice:
    """From the first plane across an axis that is not of one value to the last."""
    others = tuple(k for k in range(3) if k != axis)
    varied = np.flatnonzero(values.max(axis=others) > values.min(axis=others))
    return slice(int(varied[0]), int(varied[-1]) + 1) if len(varied) else slice(None)


def resize_volume(volume: Array, shape: Sequence[int]) -> Array:
    """The whole of a volume on a grid of `shape`: means along axes that get shorter, linear along those that do not."""
    result = volume
    for axis, count in enumerate(shape):
        result = _along(result, axis, count)
    return result


def _along(volume: Array, axis: int, count: int) -> Array:
    length = volume.shape[axis]
    if length == count:
        return volume
    moved = np.moveaxis(volume, axis, -1)
    if count < length:
        # The mean over an interval is a difference of the running sum, which is linear between the voxels.
        total = np.concatenate([np.zeros((*moved.shape[:-1], 1)), np.cumsum(moved, axis=-1, dtype=np.float64)], axis=-1)
        edges = np.linspace(0, length, count + 1)
        values = _between(total, edges)
        made = np.diff(values, axis=-1) * (count / length)
    else:
        made = _between(moved, np.clip((np.arange(count) + 0.5) * length / count - 0.5, 0, length - 1))
    return np.moveaxis(made.astype(np.float32), -1, axis)


def _between(values: Array, places: Array) -> Array:
    first = np.minimum(places.astype(int), values.shape[-1] - 1)
    second = np.minimum(first + 1, values.shape[-1] - 1)
    part = places - first
    result: Array = values[..., first] * (1 - part) + values[..., second] * part
    return result


def find_candidates(cubes: Array, *, mirrored: bool = True) -> list[Candidate]:
    """Pairs of `cubes` (n, 32, 32, 32) that agree once placed: of each its NEAREST neighbours are tried.

    `mirrored`: mirror images count too, in every right-angled placement; else volumes as they lie, moved alone.
    """
    from scipy.fft import rfftn
    from scipy.spatial import cKDTree

    n = len(cubes)
    if n < 2:
        return []
    looks = np.stack([_spectrum(one, mirrored=mirrored) for one in cubes])
    distance, near = cKDTree(looks).query(looks, k=min(NEAREST + 1, n), distance_upper_bound=FARTHEST)
    rows = [
        [b for b, d in zip(*row, strict=True) if d < np.inf]
        for row in zip(near.tolist(), distance.tolist(), strict=True)
    ]
    pairs = sorted({(min(a, b), max(a, b)) for a, row in enumerate(rows) for b in row if a != b})
    halves = cubes.reshape(n, SIDE // 2, 2, SIDE // 2, 2, SIDE // 2, 2).mean(axis=(2, 4, 6))
    rough, fine = (np.conj(rfftn(stack, axes=(1, 2, 3))) for stack in (halves, cubes))

    def best(pair: tuple[int, int]) -> Candidate:
        a, b = pair
        ways = _orientations(mirrored)
        scores = _highest(rough[a], np.stack([way.of(halves[b]) for way in ways]))
        followed = [ways[k] for k in np.argsort(-scores, kind="stable")[:FOLLOWED]]
        scores = _highest(fine[a], np.stack([way.of(cubes[b]) for way in followed]))
        score, way = float(scores.max()), followed[int(scores.argmax())]
        return Candidate(a, b, way, score)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [one for one in pool.map(best, pairs) if one.score > PLACED]


def _highest(spectrum: Array, others: Array) -> Array:
    """(n,) the highest product of a volume, given by its spectrum's conjugate, and each of `others` (n, I, J, K) moved
    (circularly)."""
    from scipy.fft import irfftn, rfftn

    axes = (1, 2, 3)
    products: Array = irfftn(spectrum * rfftn(others, axes=axes), s=others.shape[1:], axes=axes)
    highest: Array = products.reshape(len(others), -1).max(axis=1)
    return highest


@cache
def _orientations(mirrored: bool) -> tuple[Orientation, ...]:
    flips = list(product((False, True), repeat=3))
    return (
        tuple(Orientation(order, flip) for order in permutations(range(3)) for flip in flips)
        if mirrored
        else (Orientation(),)
    )


def _spectrum(one: Array, *, mirrored: bool) -> Array:
    """Amplitudes of the lowest frequencies, the same for a volume moved (circularly) and, if `mirrored`, turned."""
    from scipy.fft import fftn

    amplitudes = np.abs(fftn(one))
    low = np.r_[-LOWEST + 1 : LOWEST]
    block = amplitudes[np.ix_(low, low, low)]
    if mirrored:
        block = np.mean([way.of(block) for way in _orientations(True)], axis=0)[
            LOWEST - 1 :, LOWEST - 1 :, LOWEST - 1 :
        ]
    flat = np.sqrt(block.ravel())
    result: Array = (flat / max(float(np.linalg.norm(flat)), 1e-6)).astype(np.float32)
    return result


def agreement(a: Array, b: Array, way: Orientation) -> tuple[float, float]:
    """Correlation of two volumes where both show something, and of their fine detail, b placed `way` and moved to fit.

    On the coarser of their two grids along each axis, FINEST voxels at most.
    """
    from scipy.ndimage import gaussian_filter, shift

    b = way.of(b)
    shape = tuple(min(FINEST, m, n) for m, n in zip(a.shape, b.shape, strict=True))
    x, y = (resize_volume(np.nan_to_num(np.asarray(v, np.float32)), shape) for v in (a, b))
    coarse = tuple(min(COARSEST, n) for n in shape)
    # With zeros beyond the ends, so that what is moved out on one side does not come in on the other.
    first = _displacement(resize_volume(x, coarse), resize_volume(y, coarse), tuple(2 * n for n in coarse))
    moved = first * np.array(shape) / np.array(coarse)
    inside = _common(shape, moved)
    aligned = shift(y, -moved, order=1, mode="nearest")
    rest = _displacement(x[inside], aligned[inside], x[inside].shape)
    moved = moved + np.where(np.abs(rest) < 3, rest, 0)
    inside = _common(shape, moved)
    x, y = x[inside], shift(y, -moved, order=1, mode="nearest")[inside]
    if x.size < SHARED * np.prod(shape):
        return 0.0, 0.0
    fine = [v - gaussian_filter(v, 1.0) for v in (x, y)]
    return _correlation(x, y), _correlation(*fine)


def _common(shape: Sequence[int], moved: Array) -> tuple[slice, ...]:
    """The overlap of a volume and one that was moved by so many voxels."""
    return tuple(
        slice(max(0, int(np.ceil(-m))), max(1, n - max(0, int(np.ceil(m))))) for m, n in zip(moved, shape, strict=True)
    )


def _displacement(x: Array, y: Array, size: Sequence[int]) -> Array:
    """(3,) voxels by which y lies further than x: the highest point of their correlation, padded to `size`."""
    from scipy.fft import irfftn, rfftn

    both = irfftn(np.conj(rfftn(_unit(x), size)) * rfftn(_unit(y), size), s=size)
    peak = np.unravel_index(int(both.argmax()), both.shape)
    return np.array([_subvoxel_peak(both, peak, axis) for axis in range(3)])


def _subvoxel_peak(both: Array, peak: Sequence[np.intp], axis: int) -> float:
    """Sub-voxel place of a peak along an axis, counted from the nearest end (below 0: before the first)."""
    count, at = both.shape[axis], int(peak[axis])
    line = both[tuple(slice(None) if k == axis else int(p) for k, p in enumerate(peak))]
    before, here, after = line[at - 1], line[at], line[(at + 1) % count]
    bend = 2 * here - before - after
    part = float(np.clip((after - before) / (2 * bend), -0.5, 0.5)) if bend > 1e-9 else 0.0
    return (at if at < count / 2 else at - count) + part


def is_copy(a: Array, b: Array, way: Orientation) -> bool:
    """Return True if two volumes agree voxel by voxel."""
    whole, detail = agreement(a, b, way)
    return whole > SAME and detail > SAME_DETAIL


def _unit(values: Array) -> Array:
    centred = values - values.mean()
    result: Array = centred / max(float(np.linalg.norm(centred)), 1e-6)
    return result


def _correlation(x: Array, y: Array) -> float:
    return float((_unit(x) * _unit(y)).sum())
