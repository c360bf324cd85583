"""A metric with its interval: Wilson for proportions, a clustered bootstrap for the rest. Knows no task.

The bootstrap draws whole groups (patients) with replacement. A drawn set is written as multiplicities, how
often each item occurs in it, so a statistic that takes weights answers for all replicates in one array pass.
Ratios and means stay undefined (NaN) where there is nothing to divide by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from medzoo.types import Array

LEVEL = 0.95
REPLICATES = 2000
# Numbers that one array of a replicate pass may hold: 8 MB as float64.
_CHUNK = 1_000_000

Statistic = Callable[[Array], Array]
"""Multiplicities (R, N) of N items in R drawn sets, to the statistic of each (R,); NaN where undefined."""


@dataclass(frozen=True)
class Metric:
    """One number as it is reported: its value, its 95 % interval, and by what protocol it was measured.

    `value` is None where the data leave it undefined, `low` and `high` where there is no interval; `protocol`
    then says why. `n`: items behind the number; `groups`: independent groups (patients) among them.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    protocol: str
    n: int
    groups: int

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON; `Metric(**d)` reads them back."""
        return asdict(self)


def wilson(successes: float, n: float, *, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson, JASA 22:209, 1927); (0, 1) when n is 0."""
    if not n:
        return 0.0, 1.0
    z = float(NormalDist().inv_cdf(0.5 + level / 2))
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At the ends the bound is the end itself; rounding must not leave the estimate outside.
    low = float(centre - half) if successes > 0 else 0.0
    high = float(centre + half) if successes < n else 1.0
    return low, high


def statistic_of_indices(function: Callable[[Array], float]) -> Statistic:
    """A Statistic from a function of item indices (M,), each repeated as often as it was drawn."""

    def statistic(weights: Array) -> Array:
        items = np.arange(weights.shape[1])
        return np.array([function(np.repeat(items, row.astype(np.int64))) for row in weights])

    return statistic


def point_estimate(statistic: Statistic, n: int) -> float:
    """The statistic of the n items themselves."""
    return float(statistic(np.ones((1, n)))[0])


def group_codes(groups: Sequence[Any] | Array) -> tuple[Array, int]:
    """Groups (N,) as whole numbers from 0, and how many there are."""
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    return codes.reshape(-1), len(names)


def bootstrap_replicates(
    statistic: Statistic,
    groups: Sequence[Any] | Array,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    width: int = 0,
) -> Array:
    """(replicates, ...) the statistic of each set that draws whole groups (N,) with replacement.

    The same seed and group names draw the same sets, in whatever order the items come. `width`: numbers a
    replicate that the statistic holds at once, if more than N (bounds its memory).
    """
    codes, count = group_codes(groups)
    drawn = _multiplicities(codes, count, replicates=replicates, seed=seed, width=width)
    return np.concatenate([statistic(weights) for weights in drawn])


def percentile_interval(values: Array, *, level: float = LEVEL) -> tuple[float, float] | None:
    """The middle `level` of replicates (R,), undefined ones left out; None if all are."""
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    low, high = np.quantile(values, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def bootstrap(
    statistic: Statistic,
    groups: Sequence[Any] | Array,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    level: float = LEVEL,
) -> tuple[float, float] | None:
    """Percentile interval of `statistic` when whole groups (N,) are drawn with replacement.

    None if there is but one group, or if the statistic is defined in no replicate. Efron & Tibshirani, An
    Introduction to the Bootstrap (1993), chapters 8 and 13.
    """
    if group_codes(groups)[1] < 2:
        return None
    return percentile_interval(bootstrap_replicates(statistic, groups, replicates=replicates, seed=seed), level=level)


def paired_bootstrap(
    first: Statistic,
    second: Statistic,
    groups: Sequence[Any] | Array,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    level: float = LEVEL,
) -> tuple[float, tuple[float, float] | None]:
    """The difference first - second of two models on the same N items, and its interval.

    Both statistics see the same drawn groups, so what the items share cancels.
    """

    def difference(weights: Array) -> Array:
        return first(weights) - second(weights)

    interval = bootstrap(difference, groups, replicates=replicates, seed=seed, level=level)
    return point_estimate(difference, len(groups)), interval


def _multiplicities(codes: Array, count: int, *, replicates: int, seed: int, width: int) -> Iterator[Array]:
    """Blocks (r, N) of how often each item is drawn, `replicates` rows in all."""
    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK // max(len(codes), count, width))
    for start in range(0, replicates, rows):
        r = min(rows, replicates - start)
        drawn = rng.integers(count, size=(r, count)) + np.arange(r)[:, None] * count
        times = np.bincount(drawn.reshape(-1), minlength=r * count).reshape(r, count)
        yield times.astype(np.float64)[:, codes]


def ratio(numerator: Array, denominator: Array) -> Array:
    """numerator / denominator where the denominator is positive, NaN elsewhere."""
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Array = np.where(denominator > 0, numerator / denominator, np.nan)
    return result


def defined_mean(values: Array) -> Array:
    """Mean over the last axis of the entries that are not NaN; NaN where there are none."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0.0).sum(axis=-1), known.sum(axis=-1))
