"""The first metrics of an evaluation again, by what the items are: their size in thirds, their source, their class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from medzoo.metrics.classify import ClassifyScores
from medzoo.metrics.scores import Scores

_LEAST = 8  # items below which a subgroup says nothing
_MOST = 8  # values beyond which a word is a name, not a group
_FIGURES = 2


def subgroups(scores: Scores) -> list[dict[str, Any]]:
    """One entry a subgroup: `by` (the fact), `group` (its values, in words), `items`, `figures` with intervals.

    A protocol of its own name is the one that counts alone. Facts that fewer items have than a group needs, or
    that all items share, give no entries.
    """
    found = []
    names = scores.main.names[:_FIGURES]
    for by, group, items in _groups(scores):
        part = scores.only(items, metrics=names)
        main = next(iter(part.protocols))
        prefix = f"{main}/" if main else ""
        wanted = {f"{prefix}{name}" for name in names}
        metrics = [metric.to_dict() for metric in part.metrics() if metric.name in wanted]
        found.append({"by": by, "group": group, "items": len(items), "figures": metrics})
    return found


def _groups(scores: Scores) -> Iterator[tuple[str, str, list[str]]]:
    facts = {item: scores.facts.get(item, {}) for item in scores.items}
    for by in sorted({name for known in facts.values() for name in known}):
        values = {item: known[by] for item, known in facts.items() if by in known}
        named = {item: value for item, value in values.items() if isinstance(value, str)}
        if named:
            if by == "class" and isinstance(scores.main, ClassifyScores):
                continue  # of one class there is no ranking
            kinds = sorted(set(named.values()))
            if 2 <= len(kinds) <= _MOST:
                for kind in kinds:
                    items = [item for item, value in named.items() if value == kind]
                    if len(items) >= _LEAST:
                        yield by, kind, items
            continue
        numbers = {item: float(value) for item, value in values.items()}
        if len(numbers) < 3 * _LEAST:
            continue
        low, high = np.quantile(list(numbers.values()), [1 / 3, 2 / 3])
        if low == high:
            continue
        thirds = np.digitize(list(numbers.values()), [low, high])
        for third, words in enumerate((f"below {low:.3g}", f"{low:.3g} to {high:.3g}", f"from {high:.3g}")):
            yield by, words, [item for item, mine in zip(numbers, thirds, strict=True) if mine == third]
