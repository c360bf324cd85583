"""The one metric by which a task's models are compared in different precisions and on different backends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medzoo.data.dataset import Item
from medzoo.data.opened import OpenData
from medzoo.errors import UserError
from medzoo.evaluation import evaluate
from medzoo.recipe import Recipe
from medzoo.runtime.backends.base import Backend
from medzoo.runtime.predictor import Predictor
from medzoo.task import task_of


def subsample(items: Sequence[Item], count: int) -> list[Item]:
    """At most `count` items, spread evenly over them all."""
    if len(items) <= count:
        return list(items)
    return [items[int(index)] for index in np.linspace(0, len(items) - 1, count).round()]


def primary_metric(backend: Backend, recipe: Recipe, data: OpenData, items: Sequence[Item]) -> tuple[str, float]:
    """Name and value of the task's own metric on `items`. Raises UserError where it is not defined on them."""
    wanted = task_of(recipe.task).primary_metric
    group = recipe.data.split.group
    metrics = evaluate(Predictor(backend), data.data, items, metrics=[wanted], group=group).metrics()
    found = next((f for f in metrics if f.name.split("/")[-1] == wanted and f.value is not None), None)
    if found is None or found.value is None:
        raise UserError(f"{wanted} is not defined on the {len(items)} validation items", where=recipe.source)
    return found.name, found.value
