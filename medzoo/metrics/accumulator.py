"""The base of every task's metrics: items are added one by one, metrics with intervals come out. Knows no task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np

from medzoo.errors import UserError
from medzoo.metrics.interval import (
    REPLICATES,
    Metric,
    Statistic,
    bootstrap_replicates,
    group_codes,
    percentile_interval,
    point_estimate,
    wilson,
)
from medzoo.types import Array


def _identity(values: Array) -> Array:
    return values


@dataclass(frozen=True, eq=False)
class Measure:
    """A named statistic of the items that were added, in their order: `pick(source(weights))`, (R,).

    Measures that share one `source` (R, ...) are drawn together, so it is computed once. `counts`: successes
    and trials where the statistic is a proportion of items; it then has a Wilson interval if every item is
    its own group. `scored`: items behind it, if not all. `width`: see `bootstrap_replicates`.
    """

    name: str
    protocol: str
    source: Statistic
    pick: Callable[[Array], Array] = _identity
    counts: tuple[float, float] | None = None
    scored: Array | None = None
    width: int = 0

    def statistic(self, weights: Array) -> Array:
        """The measure (R,) of sets with multiplicities (R, N)."""
        return self.pick(self.source(weights))


class Accumulator(ABC):
    """Scores of one model on many items; images and volumes are not kept.

    `names`: entries of `known`, all of them by default. Raises UserError for a name that is not among them.
    """

    known: tuple[str, ...] = ()

    def __init__(
        self,
        labels: Sequence[str],
        names: Sequence[str] | None = None,
        *,
        seed: int = 0,
        replicates: int = REPLICATES,
    ) -> None:
        self.labels = tuple(labels)
        self.names = tuple(self.known if names is None else names)
        self.seed = seed
        self.replicates = replicates
        self.items: list[str] = []
        self.groups: list[str | None] = []
        self._seen: set[str] = set()
        for name in self.names:
            if name not in self.known:
                near = get_close_matches(name, self.known, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(self.known)}"
                raise UserError(f"unknown metric {name!r}", "metrics", hint)

    @abstractmethod
    def add(
        self,
        truth: Any,
        prediction: Any,
        *,
        item: str,
        group: str | None = None,
        spacing: Sequence[float] | None = None,
    ) -> None:
        """Score one item. `group`: its patient or subject (none: the item stands alone). `spacing`: mm."""

    @abstractmethod
    def measures(self) -> list[Measure]:
        """The statistics of `names` over the items added so far."""

    @abstractmethod
    def records(self) -> list[dict[str, Any]]:
        """One JSON-ready object an item, `item`, `group` and its values: all that the metrics come from."""

    @abstractmethod
    def restore(self, record: Mapping[str, Any]) -> None:
        """Add an item from its record. Undoes `records`."""

    @abstractmethod
    def errors(self) -> list[tuple[float, str]]:
        """Each item's error (more is worse), with a description."""

    def metrics(self) -> list[Metric]:
        """Every measure with its interval. Raises UserError if nothing was added."""
        if not self.items:
            raise UserError("no item was scored", hint="check that the split is not empty")
        draws: dict[Statistic, Array] = {}
        return [self._metric(measure, draws) for measure in self.measures()]

    def _register(self, item: str, group: str | None) -> None:
        if item in self._seen:
            raise UserError("the item was scored twice", item)
        self._seen.add(item)
        self.items.append(item)
        self.groups.append(group)

    @property
    def resampling_units(self) -> Array:
        """(N,) the name of what is drawn as one: the group, or the item that has none."""
        return np.array(
            [f"item {i}" if g is None else f"group {g}" for i, g in zip(self.items, self.groups, strict=True)]
        )

    def _metric(self, measure: Measure, draws: dict[Statistic, Array]) -> Metric:
        groups = self.resampling_units
        scored = np.ones(len(groups), bool) if measure.scored is None else measure.scored
        n, (_, count) = int(scored.sum()), group_codes(groups[scored])
        value = point_estimate(measure.statistic, len(groups))
        interval: tuple[float, float] | None = None
        if np.isnan(value):
            how = "undefined on these items"
        elif count < 2:
            how = "no interval: one group alone"
        elif measure.counts is not None and count == n:
            how = "95 % interval: Wilson"
            interval = wilson(*measure.counts)
        else:
            how = _bootstrap_words(count, self.replicates, self.seed)
            interval = percentile_interval(_replicates(measure, groups, self, draws))
        low, high = interval or (None, None)
        return Metric(measure.name, _defined(value), low, high, f"{measure.protocol}; {how}", n, count)


def paired_differences(first: Accumulator, second: Accumulator) -> list[Metric]:
    """first - second for every measure that both have, with paired intervals over the first's groups.

    Raises UserError if the two did not score the same items.
    """
    if set(first.items) != set(second.items):
        odd = sorted(set(first.items) ^ set(second.items))[0]
        raise UserError("the models were not scored on the same items", odd, "evaluate both on the same data and split")
    group_of = dict(zip(first.items, first.resampling_units, strict=True))
    groups, others = first.resampling_units, {measure.name: measure for measure in second.measures()}
    same_groups = np.array([group_of[item] for item in second.items])
    count, n = group_codes(groups)[1], len(groups)
    mine: dict[Statistic, Array] = {}
    theirs: dict[Statistic, Array] = {}
    metrics = []
    for measure in first.measures():
        if measure.name not in others:
            continue
        other = others[measure.name]
        value = point_estimate(measure.statistic, n) - point_estimate(other.statistic, n)
        words, interval = "no interval: one group alone", None
        if np.isnan(value):
            words = "undefined on these items"
        elif count > 1:
            words = _bootstrap_words(count, first.replicates, first.seed)
            # The same seed draws the same groups for both, so what the items share cancels.
            interval = percentile_interval(
                _replicates(measure, groups, first, mine) - _replicates(other, same_groups, first, theirs)
            )
        low, high = interval or (None, None)
        protocol = f"{measure.protocol}; paired difference, first minus second; {words}"
        metrics.append(Metric(measure.name, _defined(value), low, high, protocol, n, count))
    return metrics


def _replicates(measure: Measure, groups: Array, how: Accumulator, draws: dict[Statistic, Array]) -> Array:
    """(R,) the measure in each replicate; its source is drawn once and kept in `draws`."""
    if measure.source not in draws:
        draws[measure.source] = bootstrap_replicates(
            measure.source, groups, replicates=how.replicates, seed=how.seed, width=measure.width
        )
    return measure.pick(draws[measure.source])


def _bootstrap_words(groups: int, replicates: int, seed: int) -> str:
    return f"95 % interval: percentile bootstrap over {groups} groups, {replicates} replicates, seed {seed}"


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else value
