"""Images whose label is doubtful: they look like those of another class. Arrays only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medzoo.data.audit.fingerprint import GRID, Fingerprints
from medzoo.types import Array

NEIGHBOURS = 15
REFERENCE = 2048  # images at most that neighbours are sought among, so that the work grows with the images
FEWEST = 40  # images, below which neighbours say nothing
BETTER = 0.6  # how far the neighbours' accuracy must be from chance (0) towards perfect (1)
CLEAR = 0.8  # least share of the neighbours, weighted, that has the other label


@dataclass(frozen=True)
class LabelIssue:
    """An image by number, the label its neighbours have, their weighted share, and that of its own label."""

    image: int
    label: str
    share: float
    own: float


def find_label_issues(prints: Fingerprints, labels: Sequence[str]) -> list[LabelIssue]:
    """Images whose nearest others have another label, the surest first.

    Confident learning (Northcutt et al., JAIR 70:1373, 2021) with the nearest neighbours' labels, each weighted by
    how rare it is, for probabilities: an image is named where another label reaches CLEAR and what images of that
    label have of it on average. Where looks do not tell the labels (neighbours little better than chance, balanced
    over labels), nothing is named.
    """
    names, given = np.unique(np.asarray(labels, dtype=object).astype(str), return_inverse=True)
    counts = np.bincount(given, minlength=len(names))
    if len(names) < 2 or len(given) < FEWEST or counts.min() <= 2 or "" in names:
        return []
    shares = _neighbour_shares(_appearance(prints), given, counts)
    best = shares.argmax(axis=1)
    recall = np.array([(best[given == k] == k).mean() for k in range(len(names))])
    chance = 1 / len(names)
    if (recall.mean() - chance) / (1 - chance) < BETTER:
        return []
    usual = np.array([shares[given == k, k].mean() for k in range(len(names))])
    rows = np.flatnonzero((best != given) & (shares.max(axis=1) >= np.maximum(CLEAR, usual[best])))
    found = [
        LabelIssue(int(k), str(names[best[k]]), float(shares[k, best[k]]), float(shares[k, given[k]])) for k in rows
    ]
    return sorted(found, key=lambda one: (one.own - one.share, one.image))


def _appearance(prints: Fingerprints) -> Array:
    """(n, d) float32, standardised: grey values, their spread and fine detail, coarsely by place."""
    from scipy.ndimage import gaussian_filter

    rows = []
    for start in range(0, len(prints), 256):
        grids = prints.grids[start : start + 256].astype(np.float32)
        fine = grids - gaussian_filter(grids, (0, 1.5, 1.5))
        middle = gaussian_filter(grids, (0, 1.5, 1.5)) - gaussian_filter(grids, (0, 5, 5))
        blocks = grids.reshape(-1, 4, GRID // 4, 4, GRID // 4).mean(axis=(2, 4)).reshape(len(grids), -1)
        levels = np.quantile(grids.reshape(len(grids), -1), [0.05, 0.25, 0.5, 0.75, 0.95], axis=1).T
        detail = np.stack([np.log1p(band.std(axis=(1, 2))) for band in (fine, middle)], axis=1)
        spread = np.log1p(grids.std(axis=(1, 2)))[:, None]
        # Sixteen places count together about as much as four of the other values.
        rows.append(np.concatenate([blocks / 128, levels / 64, 4 * detail, 2 * spread], axis=1))
    looks = np.concatenate(rows)
    scale = looks.std(axis=0) + 1e-3
    scale[:16] *= 2
    result: Array = ((looks - looks.mean(axis=0)) / scale).astype(np.float32)
    return result


def _neighbour_shares(looks: Array, given: Array, counts: Array) -> Array:
    """(n, labels): weighted share of each label among the nearest others."""
    n = len(looks)
    chosen = np.sort(np.random.default_rng(0).permutation(n)[:REFERENCE])
    reference, of_reference = looks[chosen], given[chosen]
    length = (reference**2).sum(axis=1)
    weight = 1 / counts
    result = np.zeros((n, len(counts)))
    k = min(NEIGHBOURS, len(chosen) - 1)
    for start in range(0, n, 512):
        part = looks[start : start + 512]
        distance = length - 2 * np.einsum("id,jd->ij", part, reference, optimize=True)
        rows = np.arange(start, start + len(part))
        at = np.searchsorted(chosen, rows)
        own = (at < len(chosen)) & (chosen[np.minimum(at, len(chosen) - 1)] == rows)
        distance[np.flatnonzero(own), at[own]] = np.inf
        nearest = of_reference[np.argpartition(distance, k, axis=1)[:, :k]]
        for label in range(len(counts)):
            result[rows, label] = (nearest == label).sum(axis=1) * weight[label]
    total = result.sum(axis=1, keepdims=True)
    shares: Array = result / np.maximum(total, 1e-12)
    return shares
