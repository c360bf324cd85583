"""Pictures that show the same thing: found by index, not pair by pair, and each pair verified. Arrays only.

Two roads lead to a pair. Whole pictures: squashed to 32 x 32 they correlate above 0.95, and so are
neighbours in a k-d tree over their lowest cosine frequencies, where no pair is lost (a projection only
shortens distances). Parts of pictures (crops, burnt-in text): local features that hash alike under random
hyperplanes (Charikar, STOC 2002) and agree on one scaling and shift, which `registration` must confirm.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from medzoo.data.audit.fingerprint import GRID, Fingerprints, transposed
from medzoo.data.audit.placement import propose_placements
from medzoo.data.audit.registration import Rectangle, verify_placements
from medzoo.types import Array

CORRELATION = 0.95  # of 32 x 32 pictures, above which whole pictures may be near-duplicates
DETAIL = 0.15  # least agreement of their fine detail; of unrelated ultrasound images 97 % stay below it
SHIFT = 8  # of 64 pixels, by which fine detail may be displaced between two frames of one scene
FREQUENCIES = 4  # along each axis; the lowest but the constant make up most of any picture
CHUNK = 2048
WHOLE: Rectangle = (0.0, 0.0, 1.0, 1.0)
WAYS = ("", "x", "y", "xy", "t", "tx", "ty", "txy")


@dataclass(frozen=True)
class NearPair:
    """Two pictures by number, a < b. `score`: correlation of what they share, `detail`: agreement of its fine
    detail. `mirrored`: how b must be placed to match a: "t" rows and columns exchanged, then "x" mirrored left-right,
    "y" up-down, "xy" both; "" not at all.
    `whole`: all of both agrees. `shared`: see medzoo.data.audit.registration.VerifiedPlacement."""

    a: int
    b: int
    score: float
    detail: float
    mirrored: str
    whole: bool
    shared: tuple[Rectangle, Rectangle] = (WHOLE, WHOLE)


def near_duplicates(prints: Fingerprints, *, mirrored: bool = True) -> list[NearPair]:
    """All near-duplicate pairs, sorted by (a, b). `mirrored`: a picture and its mirror image count as such.

    Work grows as n log n with the number of pictures. Pictures without contrast are left out: they share
    nothing but that.
    """
    ways = range(4) if mirrored else range(1)
    best: dict[tuple[int, int], NearPair] = {}
    for pair in _whole_picture_pairs(prints, ways):
        best.setdefault((pair.a, pair.b), pair)
    for found in verify_placements(prints, propose_placements(prints, ways)):
        guess = found.guess
        way = WAYS[guess.way]
        pair = NearPair(guess.a, guess.b, found.score, found.detail, way, whole=False, shared=found.shared)
        best.setdefault((pair.a, pair.b), pair)
    return [best[key] for key in sorted(best)]


def turned_duplicates(prints: Fingerprints) -> list[NearPair]:
    """Pairs of pictures, one of which is the other, or a part of it, turned by 90 degrees or transposed, sorted by
    (a, b)."""
    best: dict[tuple[int, int], NearPair] = {}
    for pair in _whole_picture_pairs(prints, range(4, 8)):
        best.setdefault((pair.a, pair.b), pair)
    both = Fingerprints.join([prints, transposed(prints)])
    for found in verify_placements(both, propose_placements(both, range(4), turned=True)):
        a, b = found.guess.a, found.guess.b - len(prints)
        way = WAYS[4 + found.guess.way]
        best.setdefault((a, b), NearPair(a, b, found.score, found.detail, way, whole=False, shared=found.shared))
    return [best[key] for key in sorted(best)]


def near_groups(count: int, pairs: Iterable[tuple[int, int]]) -> Array:
    """(count,) group numbers: the connected components of `pairs`, each named by its first member."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    ends = np.array(list(pairs), int).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), shape=(count, count))
    labels = connected_components(graph, directed=False)[1]
    _, first, numbers = np.unique(labels, return_index=True, return_inverse=True)
    result: Array = first[numbers]
    return result


def _whole_picture_pairs(prints: Fingerprints, ways: Iterable[int]) -> Iterator[NearPair]:
    """Pairs that correlate above CORRELATION at 32 x 32 and whose fine detail agrees too."""
    from scipy.spatial import cKDTree

    grids = prints.grids
    coarse = grids.reshape(-1, GRID // 2, 2, GRID // 2, 2).mean(axis=(2, 4), dtype=np.float32)
    used = np.flatnonzero(coarse.std(axis=(1, 2)) > 1.0)
    if len(used) < 2:
        return
    coarse, grids = coarse[used], grids[used]
    unit = _unit(coarse)
    axes = _cosine_axes()
    tree = cKDTree(unit @ axes)
    floor = _chance_agreement(grids)
    for way in ways:
        turned = unit if way == 0 else _unit(reflect(coarse, way))
        found = tree.query_ball_point(turned @ axes, np.sqrt(2 * (1 - CORRELATION)), workers=-1)
        b = np.repeat(np.arange(len(used)), [len(x) for x in found])
        a = np.fromiter((k for x in found for k in x), int, len(b))
        a, b = a[a < b], b[a < b]
        for start in range(0, len(a), CHUNK):
            first, second = a[start : start + CHUNK], b[start : start + CHUNK]
            score = np.einsum("ij,ij->i", unit[first], turned[second])
            close = score > CORRELATION
            first, second, score = first[close], second[close], score[close]
            detail = detail_agreement(grids[first], reflect(grids[second], way))
            agree = detail > floor
            kept = used[first[agree]], used[second[agree]], score[agree], detail[agree]
            for i, j, s, d in zip(*kept, strict=True):
                yield NearPair(int(i), int(j), float(s), float(d), WAYS[way], whole=True)


def reflect(pictures: Array, way: int) -> Array:
    """Pictures (n, h, w) mirrored: 0 not, 1 left-right, 2 up-down, 3 both; with 4 added, transposed before."""
    if way & 4:
        pictures = pictures.swapaxes(1, 2)
    return pictures[:, :: -1 if way & 2 else 1, :: -1 if way & 1 else 1]


def detail_agreement(a: Array, b: Array) -> Array:
    """(n,) highest correlation of the fine detail of pictures (n, 64, 64), over small displacements."""
    from scipy.fft import irfft2, rfft2
    from scipy.ndimage import gaussian_filter

    spectra, energy = [], []
    for pictures in (a, b):
        fine = pictures.astype(np.float32)
        fine -= gaussian_filter(fine, (0, 2, 2))
        spectra.append(rfft2(fine))
        energy.append((fine**2).sum(axis=(1, 2)))
    both = irfft2(spectra[0] * spectra[1].conj(), s=a.shape[1:])
    near = np.r_[-SHIFT : SHIFT + 1]
    result: Array = both[:, near][:, :, near].max(axis=(1, 2)) / np.sqrt(energy[0] * energy[1] + 1e-6)
    return result


def _chance_agreement(grids: Array) -> float:
    """Above what agreement of detail is more than the dataset's own common look (aligned anatomy, frames)."""
    draw = np.random.default_rng(0)
    a, b = draw.integers(0, len(grids), (2, 512))
    chance = detail_agreement(grids[a[a != b]], grids[b[a != b]])
    middle = float(np.median(chance))
    spread = 1.4826 * float(np.median(np.abs(chance - middle)))
    return float(np.clip(middle + 2.5 * spread, DETAIL, 0.85))


def _unit(pictures: Array) -> Array:
    """(n, h * w) of mean zero and length one."""
    flat = pictures.reshape(len(pictures), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    result: Array = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    return result


def _cosine_axes() -> Array:
    """(1024, 15) orthonormal: the lowest cosine frequencies of a 32 x 32 picture, without the constant."""
    at = (np.arange(GRID // 2) + 0.5) * np.pi / (GRID // 2)
    waves = np.cos(np.arange(FREQUENCIES)[:, None] * at)
    waves /= np.linalg.norm(waves, axis=1, keepdims=True)
    planes: Array = np.einsum("ay,bx->abyx", waves, waves).reshape(FREQUENCIES**2, -1)[1:].T.astype(np.float32)
    return planes
