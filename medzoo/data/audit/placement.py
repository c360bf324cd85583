"""Propose placements of one picture in another: local features that hash alike vote for a scaling and a shift."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from medzoo.data.audit.fingerprint import CANVAS, FEATURES, STEP, Fingerprints, mirror_signs
from medzoo.types import Array

TABLES = 8
SPARE_BITS = 4  # of a hash code, beyond one bucket a feature
CHUNK = 1 << 14
SMALL = 1 << 8
VOTES = 3  # features that must agree on one placement
BIN = 20.0  # canvas pixels within which they agree
CROWD = 16  # in one bucket each feature is paired with this many others at most
ALIKE = 0.65  # least cosine of two features that hash alike
FOLLOWED = 3  # placements of one picture in another (mirrored in one way) that are followed up at most
PER_PICTURE = 8  # placements that are followed up, on average


@dataclass(frozen=True)
class Placement:
    """Row and column of picture `b` (mirrored by `way`) = scale * (those of picture `a`) + shift, in canvas
    pixels; `scale` and `shift` are (row, column)."""

    a: int
    b: int
    way: int
    scale: tuple[float, float]
    shift: tuple[float, float]
    votes: int


def propose_placements(prints: Fingerprints, ways: Sequence[int], *, turned: bool = False) -> list[Placement]:
    """Placements that at least VOTES features support, most votes first, PER_PICTURE a picture at most.

    `turned`: the second half of `prints` are those of the first half, transposed, and only placements of a picture of
    the second half, as `b`, in an earlier one of the first count.

    A straight edge looks the same all along, so that its features match each other many times over and agree on wrong
    placements too: a feature votes once, and the best placement is not the only one that is followed up.
    """
    n, count, _ = prints.features.shape
    matches = _matches(prints, ways, turned=turned)
    if not len(matches):
        return []
    first, second, way = matches.T
    a, b = first // count, second // count
    level = prints.levels.reshape(-1).astype(np.int16)
    step = level[second] - level[first]
    ratio = (STEP ** step.astype(np.float32))[:, None]
    places = prints.places.reshape(-1, 2)
    here, there = places[first], mirror_places(places[second], prints.extent[b], way)
    # Where the middle of the canvas goes: a wrong ratio moves that less than it moves the corner.
    middle = there + ratio * (CANVAS / 2 - here)
    pair = (a * n + b) * 4 + way
    best: dict[int, list[_Bin]] = {}
    for shift_y in (0.0, 0.5):
        for shift_x in (0.0, 0.5):
            cell = np.floor(middle / BIN + (shift_y, shift_x)).astype(np.int64) + 512
            keys = ((pair * 32 + step + 16) * 1024 + cell[:, 0]) * 1024 + cell[:, 1]
            for members, votes in _voted(keys, first, second):
                one = _Bin(votes, int(step[members[0]]), middle[members].mean(axis=0), members)
                _keep_best(best.setdefault(int(pair[members[0]]), []), one)
    chosen = sorted((one for some in best.values() for one in some), key=lambda one: -one.votes)[: PER_PICTURE * n]
    return [
        _fit(int(a[m[0]]), int(b[m[0]]), int(way[m[0]]), here[m], there[m], ratio[m])
        for m in (one.members for one in chosen)
    ]


@dataclass(frozen=True, eq=False)
class _Bin:
    """Matches (by number) that agree on a step of levels and on where the middle goes; `votes`: of single features."""

    votes: int
    step: int
    middle: Array
    members: Array


def _voted(keys: Array, first: Array, second: Array) -> Iterator[tuple[Array, int]]:
    """Matches of one key each and how many features vote for it, of the picture that has fewer; VOTES at least."""
    _, bins, counts = np.unique(keys, return_inverse=True, return_counts=True)
    strong = np.flatnonzero(counts[bins] >= VOTES)
    order = strong[np.argsort(bins[strong], kind="stable")]
    if not len(order):
        return
    ends = np.flatnonzero(np.diff(bins[order])) + 1
    numbers = np.repeat(np.arange(len(ends) + 1), np.diff(np.r_[0, ends, len(order)]))
    singles = []
    for feature in (first[order], second[order]):
        width = int(feature.max()) + 1
        singles.append(np.bincount(np.unique(numbers * width + feature) // width))
    votes = np.minimum(*singles)
    for members, count in zip(np.split(order, ends), votes.tolist(), strict=True):
        if count >= VOTES:
            yield members, count


def _keep_best(kept: list[_Bin], one: _Bin) -> None:
    """Add `one` to the FOLLOWED best, unless a better one says the same."""
    for place, other in enumerate(kept):
        if other.step == one.step and np.abs(other.middle - one.middle).max() < BIN:
            if one.votes > other.votes:
                kept[place] = one
            return
    kept.append(one)
    if len(kept) > FOLLOWED:
        kept.remove(min(kept, key=lambda some: some.votes))


def _fit(a: int, b: int, way: int, here: Array, there: Array, ratio: Array) -> Placement:
    """Least squares scale and shift by axis, drawn to the ratio of the levels where the features lie close."""
    centre, target = here.mean(axis=0), there.mean(axis=0)
    spread = ((here - centre) ** 2).sum(axis=0)
    prior = float(ratio.mean())
    scale = (((here - centre) * (there - target)).sum(axis=0) + 400 * prior) / (spread + 400)
    shift = target - scale * centre
    return Placement(a, b, way, (float(scale[0]), float(scale[1])), (float(shift[0]), float(shift[1])), len(here))


def mirror_places(places: Array, extent: Array, way: Array) -> Array:
    """Places (m, 2) in pictures of `extent` (m, 2) after mirroring by `way` (m,)."""
    flipped = np.stack([way & 2, way & 1], axis=1) > 0
    return np.where(flipped, extent - 1 - places, places)


def _matches(prints: Fingerprints, ways: Sequence[int], *, turned: bool) -> Array:
    """(m, 3) feature number in a, feature number in b > a, way: pairs that hash alike and are alike."""
    half = len(prints) // 2
    flat = prints.features.reshape(-1, FEATURES)
    real = np.flatnonzero(flat.any(axis=1))
    if not len(real):
        return np.zeros((0, 3), np.int64)
    centre, spread = flat[real].mean(axis=0), flat[real].std(axis=0) + 1e-3
    bits = int(np.clip(np.ceil(np.log2(len(real))) + SPARE_BITS, 16, 31))
    planes = np.random.default_rng(0).integers(0, 2, (TABLES, FEATURES, bits)).astype(np.float32) * 2 - 1
    signs = mirror_signs()[list(ways)].astype(np.float32)

    def one_table(table: int) -> Array:
        """Pairs that one table finds: (m, 3) feature, feature, number of the way."""
        # (x * sign - centre) / spread @ plane, with all but x folded into one matrix for each way.
        weights = planes[table] / spread[:, None]
        offset = (centre @ weights).astype(np.float32)
        codes = np.concatenate([_codes(flat, real, weights * sign[:, None], offset) for sign in signs])
        first, second = _bucket_pairs(codes, len(real), table)
        way, feature = np.divmod(second, len(real))
        # The first is unmirrored, so it is a, and the second is b mirrored; where that leaves a > b, the
        # same match stands a second time with its ends exchanged.
        first, second = real[first], real[feature]
        a, b = first // prints.features.shape[1], second // prints.features.shape[1]
        kept = (a < half) & (a < b - half) if turned else a < b
        first, second, way = first[kept], second[kept], way[kept]
        alike = np.zeros(len(first), bool)
        for start in range(0, len(first), CHUNK):
            part = slice(start, start + CHUNK)
            placed = flat[second[part]] * signs[way[part]]
            alike[part] = np.einsum("ij,ij->i", flat[first[part]], placed) > ALIKE * 127**2
        return np.stack([first[alike], second[alike], way[alike]], axis=1)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = np.concatenate(list(pool.map(one_table, range(TABLES))))
    found = np.unique(found, axis=0)
    found[:, 2] = np.asarray(ways)[found[:, 2]]
    return found


def _codes(flat: Array, real: Array, weights: Array, offset: Array) -> Array:
    """(m,) uint32 of one table: on which side of each hyperplane the features lie."""
    powers = (1 << np.arange(weights.shape[1], dtype=np.int64)).astype(np.float64)
    codes = np.empty(len(real), np.uint32)
    # Products this small BLAS keeps on the calling thread; the tables have a thread each already.
    for start in range(0, len(real), SMALL):
        part = slice(start, start + SMALL)
        above = flat[real[part]].astype(np.float32) @ weights.astype(np.float32) > offset
        codes[part] = (above @ powers).astype(np.uint32)
    return codes


def _bucket_pairs(codes: Array, plain: int, table: int) -> tuple[Array, Array]:
    """Numbers (m,) and (m,) of entries with the same code, the first below the second and below `plain`."""
    # Shuffled, so that in a crowded bucket every table pairs an entry with other neighbours.
    order = np.random.default_rng(table).permutation(len(codes))
    order = order[np.argsort(codes[order], kind="stable")]
    ordered = codes[order]
    firsts, seconds = [], []
    here = np.arange(len(ordered) - 1)
    for lag in range(1, CROWD + 1):
        here = here[: np.searchsorted(here, len(ordered) - lag)]
        here = here[ordered[here] == ordered[here + lag]]
        i, j = order[here], order[here + lag]
        first = np.minimum(i, j)
        useful = first < plain
        firsts.append(first[useful])
        seconds.append(np.maximum(i, j)[useful])
    return np.concatenate(firsts), np.concatenate(seconds)
