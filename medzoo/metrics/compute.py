"""Compute metrics of a task from truth and predictions, through the task's accumulator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medzoo.errors import UserError
from medzoo.metrics.accumulator import Accumulator
from medzoo.metrics.interval import Metric
from medzoo.task import task_of
from medzoo.types import Array


def accumulator(task: str, labels: Sequence[str], names: Sequence[str] | None = None, **options: Any) -> Accumulator:
    """An empty accumulator of the metrics `names` (None: all of the task).

    Options: `threshold`, the operating threshold; `conformal`, (threshold, stated coverage) of a classifier's sets;
    `seed` and `replicates` of the bootstrap; and those of the task's own class. Raises UserError for an unknown name.
    """
    made: Accumulator = task_of(task).accumulator(labels, names, **options)
    return made


def compute(
    task: str,
    names: Sequence[str] | None,
    truth: Sequence[Any] | Array,
    predictions: Sequence[Any] | Array,
    *,
    labels: Sequence[str],
    items: Sequence[str] | None = None,
    groups: Sequence[str | None] | None = None,
    spacing: Sequence[Sequence[float] | None] | None = None,
    threshold: float | None = None,
    seed: int = 0,
) -> list[Metric]:
    """Metrics of N items that are all at hand; each of truth and answers as the task's `add` takes it.

    Raises UserError if the lengths differ.
    """
    scores = accumulator(task, labels, names, threshold=threshold, seed=seed)
    n = len(truth)
    columns: tuple[Sequence[Any], ...] = (
        items or [str(i) for i in range(n)],
        groups or [None] * n,
        spacing or [None] * n,
    )
    if any(len(column) != n for column in (predictions, *columns)):
        raise UserError("truth, predictions, items, groups and spacing must have the same length")
    for true, prediction, item, group, steps in zip(truth, predictions, *columns, strict=True):
        scores.add(true, prediction, item=item, group=group, spacing=steps)
    return scores.metrics()


def restore_records(scores: Accumulator, records: Sequence[Mapping[str, Any]]) -> Accumulator:
    """`scores`, filled from the records of an earlier evaluation."""
    for record in records:
        scores.restore(record)
    return scores
