"""Grey-level co-occurrence matrices and Haralick's features. Knows numpy and medzoo.errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medzoo.errors import UserError
from medzoo.types import Array

# Angle in degrees, counter-clockwise as Haralick draws it, to the step (rows, columns) of distance 1.
STEPS = {0: (0, 1), 45: (-1, 1), 90: (-1, 0), 135: (-1, -1)}
ANGLES = tuple(STEPS)
_AT_ONCE = 64  # regions: few enough for the cache, enough to outweigh the calls
PROPERTIES = ("asm", "contrast", "correlation", "idm", "entropy")
HARALICK13 = (
    "asm", "contrast", "correlation", "variance", "idm", "sum_average", "sum_variance", "sum_entropy",
    "entropy", "difference_variance", "difference_entropy", "information_1", "information_2",
)  # fmt: skip


def quantise(image: Array, *, levels: int = 32, mask: Array | None = None) -> Array:
    """`image` (H, W) cut into `levels` equal steps between the extremes inside `mask`: (H, W) intp.

    Raises UserError where the image is constant inside the mask.
    """
    values = np.asarray(image, np.float64)
    inside = values if mask is None else values[np.asarray(mask, bool)]
    if not inside.size:
        raise UserError("the mask is empty")
    low, high = float(inside.min()), float(inside.max())
    if not low < high:
        raise UserError("the image is constant, so it has no texture")
    return np.clip((values - low) * (levels / (high - low)), 0, levels - 1).astype(np.intp)


def glcm(
    regions: Array,
    *,
    levels: int,
    distance: int = 1,
    angles: Sequence[int] = ANGLES,
    mask: Array | None = None,
    symmetric: bool = True,
) -> Array:
    """Counts of grey-level pairs: (..., A, levels, levels) int64 for regions (..., H, W) of 0 to levels - 1.

    A pair counts where both of its pixels lie inside `mask` (same shape as regions). Diagonal steps are
    (distance, distance) pixels. Source: Haralick, Shanmugam, Dinstein, IEEE Trans. SMC 3 (1973).
    Raises UserError for values outside the levels and for angles other than 0, 45, 90, 135.
    """
    regions = np.asarray(regions)
    if regions.size and (regions.min() < 0 or regions.max() >= levels):
        raise UserError(f"a co-occurrence matrix of {levels} levels takes values from 0 to {levels - 1}")
    if unknown := [a for a in angles if a not in STEPS]:
        raise UserError(f"{unknown[0]} is not one of the angles {', '.join(map(str, ANGLES))}", "angles")
    side = levels
    if mask is not None:
        # One more level stands for all that lies outside; its row and column are dropped at the end.
        side = levels + 1
        regions = np.where(mask, regions, levels)
    lead, height, width = regions.shape[:-2], regions.shape[-2], regions.shape[-1]
    flat = regions.reshape(-1, height, width)
    counts = np.empty((len(flat), len(angles), levels, levels), np.int64)
    fill = _PairIndex(height, width, side, [tuple(distance * s for s in STEPS[a]) for a in angles])
    for region, count in zip(flat, counts, strict=True):
        pairs = fill(region).reshape(len(angles), side, side)[:, :levels, :levels]
        if symmetric:
            np.add(pairs, pairs.swapaxes(-1, -2), out=count)
        else:
            count[...] = pairs
    return counts.reshape(*lead, len(angles), levels, levels)


def texture_properties(regions: Array, *, levels: int, distance: int = 1) -> dict[str, Array]:
    """`glcm_properties` of the symmetric matrices of many regions (B, H, W), each (B, 4): in one go.

    Equal to `glcm` followed by `glcm_properties`, but a few regions at a time, whose matrices stay in
    the processor's cache. Raises UserError as they do.
    """
    parts = [
        glcm_properties(glcm(regions[i : i + _AT_ONCE], levels=levels, distance=distance))
        for i in range(0, len(regions), _AT_ONCE)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in PROPERTIES}


class _PairIndex:
    """Count the pairs of one region after another, reusing the index buffer, which is most of the cost."""

    def __init__(self, height: int, width: int, side: int, steps: Sequence[tuple[int, ...]]) -> None:
        self.side = side
        self.bins = len(steps) * side * side
        self.slices = [
            ((_ahead(-r, height), _ahead(-c, width)), (_ahead(r, height), _ahead(c, width))) for r, c in steps
        ]
        shapes = [(max(0, height - abs(r)), max(0, width - abs(c))) for r, c in steps]
        ends = np.cumsum([h * w for h, w in shapes])
        self.buffer = np.empty(int(ends[-1]) if len(ends) else 0, np.intp)
        self.views = [self.buffer[end - h * w : end].reshape(h, w) for end, (h, w) in zip(ends, shapes, strict=True)]

    def __call__(self, region: Array) -> Array:
        second = region.astype(np.intp)
        first = second * self.side
        for view, (a, b) in zip(self.views, self.slices, strict=True):
            np.add(first[a], second[b], out=view)
            first += self.side * self.side
        return np.bincount(self.buffer, minlength=self.bins)


def _ahead(step: int, size: int) -> slice:
    """The part of an axis that pixels `step` ahead of another pixel can lie in."""
    return slice(step, size) if step > 0 else slice(0, max(0, size + step))


def glcm_properties(counts: Array) -> dict[str, Array]:
    """asm, contrast, correlation, idm, entropy (nats) of matrices (..., L, L): each of shape (...).

    asm is the sum of squares (scikit-image's `energy` is its root), idm is 1/(1+d^2) weighted. A matrix
    of one level has correlation 1. Raises UserError for an empty matrix.
    """
    counts = np.asarray(counts)
    levels = counts.shape[-1]
    rows = counts.reshape(-1, levels * levels)
    values = _properties(rows, levels)
    return {name: v.reshape(counts.shape[:-2]) for name, v in zip(PROPERTIES, values, strict=True)}


def _properties(rows: Array, levels: int) -> Array:
    """The five properties (5, n) of matrices laid out as rows (n, L * L)."""
    table = rows.astype(np.float64)
    total = table.sum(axis=1)
    if not total.all():
        raise UserError("a co-occurrence matrix is empty", hint="the region holds no pair of neighbours")
    index = np.arange(levels, dtype=np.float64)
    # Centred levels: the products below cancel less.
    a = np.repeat(index - (levels - 1) / 2, levels)
    b = np.tile(index - (levels - 1) / 2, levels)
    weights = np.stack([a, b, a * a, b * b, a * b, (a - b) ** 2, 1 / (1 + (a - b) ** 2)], axis=1)
    mean_a, mean_b, aa, bb, ab, contrast, idm = (table @ weights / total[:, None]).T
    spread = np.sqrt(np.maximum(aa - mean_a**2, 0) * np.maximum(bb - mean_b**2, 0))
    flat = spread < 1e-12
    correlation = np.where(flat, 1.0, (ab - mean_a * mean_b) / np.where(flat, 1.0, spread))
    asm = np.einsum("ij,ij->i", table, table) / total**2
    entropy = np.log(total) - _count_log_count(rows, table) / total
    return np.stack([asm, contrast, correlation, idm, entropy])


def _count_log_count(rows: Array, table: Array) -> Array:
    """Sum of c log c of each row; counts are few and small, so most logarithms come from a table."""
    if rows.dtype.kind in "ui" and (top := int(rows.max())) < 1 << 14:
        known = np.arange(top + 1, dtype=np.float64)
        known[1:] *= np.log(known[1:])
        total: Array = known[rows].sum(axis=1)
        return total
    positive = np.where(table > 0, table, 1.0)
    logs: Array = (table * np.log(positive)).sum(axis=1)
    return logs


def haralick(counts: Array) -> dict[str, Array]:
    """The thirteen features of Haralick et al. (1973) of matrices (..., L, L), in nats: each of shape (...).

    Levels count from 1, as in the paper; the sum variance is taken about the sum average (the paper
    prints the sum entropy there, a known misprint).
    """
    counts = np.asarray(counts, np.float64)
    levels = counts.shape[-1]
    base = glcm_properties(counts)
    p = counts / counts.sum(axis=(-1, -2), keepdims=True)
    i = np.arange(1, levels + 1, dtype=np.float64)
    px, py = p.sum(axis=-1), p.sum(axis=-2)
    add = (np.add.outer(np.arange(levels), np.arange(levels))).ravel()
    sub = np.abs(np.subtract.outer(np.arange(levels), np.arange(levels))).ravel()
    flat = p.reshape(*p.shape[:-2], levels * levels)
    p_add = flat @ np.eye(2 * levels - 1)[add]
    p_sub = flat @ np.eye(levels)[sub]
    k_add, k_sub = np.arange(2.0, 2 * levels + 1), np.arange(levels, dtype=np.float64)
    mean = (px * i).sum(-1, keepdims=True)
    sum_average = (p_add * k_add).sum(-1)
    sub_mean = (p_sub * k_sub).sum(-1, keepdims=True)
    hx, hy, hxy = _entropy(px), _entropy(py), _entropy(flat)
    outer = px[..., :, None] * py[..., None, :]
    log_outer = np.log(np.where(outer > 0, outer, 1.0))
    hxy1 = -(p * log_outer).sum(axis=(-1, -2))
    hxy2 = -(outer * log_outer).sum(axis=(-1, -2))
    top = np.maximum(hx, hy)
    return {
        "asm": base["asm"],
        "contrast": base["contrast"],
        "correlation": base["correlation"],
        "variance": (px * (i - mean) ** 2).sum(-1),
        "idm": base["idm"],
        "sum_average": sum_average,
        "sum_variance": (p_add * (k_add - sum_average[..., None]) ** 2).sum(-1),
        "sum_entropy": _entropy(p_add),
        "entropy": hxy,
        "difference_variance": (p_sub * (k_sub - sub_mean) ** 2).sum(-1),
        "difference_entropy": _entropy(p_sub),
        "information_1": (hxy - hxy1) / np.where(top > 0, top, 1.0),
        "information_2": np.sqrt(np.maximum(0.0, 1 - np.exp(-2 * (hxy2 - hxy)))),
    }


def _entropy(p: Array) -> Array:
    value: Array = -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=-1)
    return value
