"""The metrics that a recipe may name, by task, and the accumulator that computes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from medzoo.errors import UserError
from medzoo.metrics.accumulator import Accumulator
from medzoo.metrics.classify import ClassifyScores
from medzoo.metrics.detect import DetectScores
from medzoo.metrics.interval import REPLICATES, Figure
from medzoo.metrics.segment import SegmentScores
from medzoo.types import Array

_SCORES: Mapping[str, type[ClassifyScores] | type[SegmentScores] | type[DetectScores]] = MappingProxyType(
    {"classify": ClassifyScores, "segment": SegmentScores, "detect": DetectScores}
)
METRICS: Mapping[str, tuple[str, ...]] = MappingProxyType({task: scores.known for task, scores in _SCORES.items()})
"""Names that `metrics:` of a recipe may hold, by task."""


def accumulator(
    task: str,
    labels: Sequence[str],
    names: Sequence[str] | None = None,
    *,
    threshold: float | None = None,
    conformal: tuple[float, float] | None = None,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> Accumulator:
    """An empty accumulator of `names` (None: all of the task). `threshold`: the operating threshold;
    `conformal`: (threshold, stated coverage) of a classifier's sets.

    Raises UserError for an unknown name. Further options are those of the three classes themselves.
    """
    if task == "segment":
        return SegmentScores(labels, names, seed=seed, replicates=replicates)
    if task == "classify":
        return ClassifyScores(labels, names, threshold=threshold, conformal=conformal, seed=seed, replicates=replicates)
    return DetectScores(labels, names, threshold=threshold, seed=seed, replicates=replicates)


def compute(
    task: str,
    names: Sequence[str] | None,
    truth: Sequence[Any] | Array,
    answers: Sequence[Any] | Array,
    *,
    labels: Sequence[str],
    items: Sequence[str] | None = None,
    groups: Sequence[str | None] | None = None,
    spacing: Sequence[Sequence[float] | None] | None = None,
    threshold: float | None = None,
    seed: int = 0,
) -> list[Figure]:
    """Figures of N items that are all at hand; each of truth and answers as the task's `add` takes it.

    Raises UserError if the lengths differ.
    """
    scores = accumulator(task, labels, names, threshold=threshold, seed=seed)
    n = len(truth)
    columns: tuple[Sequence[Any], ...] = (
        items or [str(i) for i in range(n)],
        groups or [None] * n,
        spacing or [None] * n,
    )
    if any(len(column) != n for column in (answers, *columns)):
        raise UserError("truth, answers, items, groups and spacing must have one entry an item each")
    for true, answer, item, group, steps in zip(truth, answers, *columns, strict=True):
        scores.add(true, answer, item=item, group=group, spacing=steps)
    return scores.figures()


def restored(scores: Accumulator, records: Sequence[Mapping[str, Any]]) -> Accumulator:
    """`scores`, filled from the records of an earlier evaluation."""
    for record in records:
        scores.restore(record)
    return scores
