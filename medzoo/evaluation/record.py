"""Evaluate a model on the test part of its data: the `metrics` of a manifest, and the files that belong to them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rich.progress import track

from medzoo import registry
from medzoo.data.dataset import Item
from medzoo.data.opened import OpenData
from medzoo.evaluation.score import evaluate
from medzoo.evaluation.worst import worst_cases
from medzoo.metrics.scores import FILE as EVALUATION
from medzoo.metrics.subgroups import subgroups
from medzoo.recipe import Recipe
from medzoo.report.summary import Console
from medzoo.runtime.predictor import Predictor


@dataclass(frozen=True)
class EvaluationRecord:
    """`metrics` of a manifest, and the files that belong to them by name."""

    metrics: dict[str, Any]
    files: dict[str, bytes]


def evaluate_test_part(predictor: Predictor, recipe: Recipe, data: OpenData, *, console: Console) -> EvaluationRecord:
    """Score the test part: metrics, subgroups, reliability, predictions item by item, worst cases."""
    items = data.part("test")
    scores = evaluate(
        predictor,
        data.data,
        items,
        metrics=recipe.metrics,
        group=recipe.data.split.group,
        seed=recipe.train.seed,
        split_digest=data.split.digest,
        watch=lambda items: show_progress(items, console),
    )
    metrics: dict[str, Any] = {
        "split": "test",
        "scored": registry.entry("data", recipe.data.type).scored,
        "items": len(items),
        "figures": [metric.to_dict() for metric in scores.metrics()],
    }
    files = {EVALUATION: scores.to_bytes()}
    if rows := scores.reliability():
        metrics["reliability"] = rows
    if scores.items:
        metrics["subgroups"] = subgroups(scores)
        worst = worst_cases(predictor, data.data, items, scores)
        metrics["worst"] = worst.cases
        files |= worst.files
    return EvaluationRecord(metrics, files)


def show_progress(items: Iterable[Item], console: Console) -> Iterable[Item]:
    """Iterate over `items` with a progress bar on the console."""
    return track(items, description="evaluating", console=console)
