"""Where one picture may lie in another: local features that hash alike vote for a scaling and a shift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medzoo.data.fingerprint import CANVAS, FEATURES, STEP, Fingerprints, mirror_signs
from medzoo.types import Array

TABLES = 8
VOTES = 3  # features that must agree on one placement
BIN = 16.0  # canvas pixels within which they agree
CROWD = 16  # in one bucket each feature is paired with this many others at most
ALIKE = 0.7  # least cosine of two features that hash alike
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


def guess_placements(prints: Fingerprints, ways: Sequence[int]) -> list[Placement]:
    """Placements that at least VOTES features support, most votes first, PER_PICTURE a picture at most."""
    n, count, _ = prints.features.shape
    matches = _matches(prints, ways)
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
    best: dict[int, tuple[int, Array]] = {}
    for shift_y in (0.0, 0.5):
        for shift_x in (0.0, 0.5):
            cell = np.floor(middle / BIN + (shift_y, shift_x)).astype(np.int64) + 512
            _, bins, votes = np.unique(
                ((pair * 32 + step + 16) * 1024 + cell[:, 0]) * 1024 + cell[:, 1],
                return_inverse=True,
                return_counts=True,
            )
            strong = np.flatnonzero(votes[bins] >= VOTES)
            order = strong[np.argsort(bins[strong], kind="stable")]
            for members in np.split(order, np.flatnonzero(np.diff(bins[order])) + 1):
                if len(members) > best.get(int(pair[members[0]]), (0,))[0] if len(members) else False:
                    best[int(pair[members[0]])] = (len(members), members)
    chosen = sorted(best.values(), key=lambda m: -m[0])[: PER_PICTURE * n]
    return [_fit(int(a[m[0]]), int(b[m[0]]), int(way[m[0]]), here[m], there[m], ratio[m]) for _, m in chosen]


def _fit(a: int, b: int, way: int, here: Array, there: Array, ratio: Array) -> Placement:
    """Least squares scale and shift by axis, drawn to the ratio of the levels where the features lie close."""
    centre, target = here.mean(axis=0), there.mean(axis=0)
    spread = ((here - centre) ** 2).sum(axis=0)
    prior = float(ratio.mean())
    scale = (((here - centre) * (there - target)).sum(axis=0) + 400 * prior) / (spread + 400)
    shift = target - scale * centre
    return Placement(
        a, b, way, (float(scale[0]), float(scale[1])), (float(shift[0]), float(shift[1])), len(here)
    )


def mirror_places(places: Array, extent: Array, way: Array) -> Array:
    """Places (m, 2) in pictures of `extent` (m, 2) after mirroring by `way` (m,)."""
    flipped = np.stack([way & 2, way & 1], axis=1) > 0
    return np.where(flipped, extent - 1 - places, places)


def _matches(prints: Fingerprints, ways: Sequence[int]) -> Array:
    """(m, 3) feature number in a, feature number in b > a, way: pairs that hash alike and are alike."""
    n, count, _ = prints.features.shape
    flat = prints.features.reshape(-1, FEATURES)
    real = np.flatnonzero(flat.any(axis=1))
    if not len(real):
        return np.zeros((0, 3), np.int64)
    centre, spread = flat[real].mean(axis=0), flat[real].std(axis=0) + 1e-3
    bits = int(np.clip(np.ceil(np.log2(len(real))) + 4, 16, 30))
    planes = np.random.default_rng(0).integers(0, 2, (FEATURES, TABLES * bits)).astype(np.float32) * 2 - 1
    weights = (1 << np.arange(bits)).astype(np.float32)
    codes = np.empty((len(ways), len(real), TABLES), np.uint32)
    for w, way in enumerate(ways):
        for start in range(0, len(real), 1 << 15):
            some = flat[real[start : start + (1 << 15)]] * mirror_signs()[way]
            above = ((some - centre) / spread).astype(np.float32) @ planes > 0
            low, high = above.reshape(-1, TABLES, bits)[..., :16], above.reshape(-1, TABLES, bits)[..., 16:]
            code = (low @ weights[:16]).astype(np.uint32) | (
                (high @ weights[: bits - 16]).astype(np.uint32) << np.uint32(16)
            )
            codes[w, start : start + (1 << 15)] = code
    found = [_bucket_pairs(codes[:, :, t].reshape(-1), len(real), t) for t in range(TABLES)]
    entry = np.sort(np.concatenate(found))
    entry = entry[np.diff(entry, prepend=-1) > 0]
    way, feature = np.divmod(np.stack(np.divmod(entry, codes[:, :, 0].size), axis=1), len(real))
    # The first of the two is unmirrored, so it is a, and the second is b mirrored; where that leaves a > b,
    # the same match stands a second time with its ends exchanged.
    result = np.stack([real[feature[:, 0]], real[feature[:, 1]], np.asarray(ways)[way[:, 1]]], axis=1)
    result = result[result[:, 0] // count < result[:, 1] // count]
    alike = np.zeros(len(result), bool)
    signs = mirror_signs().astype(np.float32)
    for start in range(0, len(result), 1 << 16):
        i, j, w = result[start : start + (1 << 16)].T
        product = flat[i].astype(np.float32) * flat[j] * signs[w]
        alike[start : start + (1 << 16)] = product.sum(axis=1) > ALIKE * 127**2
    return result[alike]


def _bucket_pairs(codes: Array, plain: int, table: int) -> Array:
    """Entries i < j of one table with the same code, i among the first `plain`, as i * len(codes) + j."""
    # Shuffled, so that in a crowded bucket every table pairs an entry with other neighbours.
    order = np.random.default_rng(table).permutation(len(codes))
    order = order[np.argsort(codes[order], kind="stable")]
    ordered = codes[order]
    pairs = []
    here = np.arange(len(ordered) - 1)
    for lag in range(1, CROWD + 1):
        here = here[: np.searchsorted(here, len(ordered) - lag)]
        here = here[ordered[here] == ordered[here + lag]]
        i, j = np.minimum(order[here], order[here + lag]), np.maximum(order[here], order[here + lag])
        pairs.append((i * len(codes) + j)[i < plain])
    return np.concatenate(pairs)
