"""What a recipe may name: joins the registry, the steps and the metrics into the catalog that recipes are
checked against. The names and options of model types need torch; without it that part is left to the
machine that trains."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from medzoo import registry
from medzoo.metrics import METRICS
from medzoo.preprocess.steps import HOST_STEPS
from medzoo.recipe import Kind, Recipe


def has_torch() -> bool:
    """Whether the extra `train` can be there; imports nothing."""
    return importlib.util.find_spec("torch") is not None


class Catalog:
    """The closed set of names, and the options of each, as medzoo.recipe.Catalog asks for them."""

    def names(self, kind: Kind) -> Sequence[str]:
        """Names of a kind: "data", "model", "host-step", "graph-step" or "augment"."""
        if kind == "data" or kind == "model":
            return list(registry.names(kind))
        return list(_steps(kind))

    def schema(self, kind: Kind, name: str) -> type[BaseModel]:
        """The pydantic model of one name's options."""
        if kind == "data" or kind == "model":
            params: type[BaseModel] = registry.entry(kind, name).params
            return params
        return _steps(kind)[name]

    def metrics(self, task: str) -> Sequence[str]:
        """Metrics of a task."""
        return METRICS[task]

    def cross_check(self, recipe: Recipe) -> Iterable[tuple[tuple[str | int, ...], str, str | None]]:
        """What is wrong between the recipe's parts: (path of the field, what, hint)."""
        entry = registry.entry("model", recipe.model.type)
        if entry.task != recipe.task:
            yield ("model", "type"), f"{recipe.model.type} is for task {entry.task}, not {recipe.task}", None
        data = registry.entry("data", recipe.data.type)
        if recipe.task not in data.tasks:
            yield (
                ("data", "type"),
                f"{recipe.data.type} does not serve task {recipe.task}",
                f"it serves {', '.join(data.tasks)}",
            )
        if entry.learns == "closed-form":
            for field in ("epochs", "max_steps", "devices", "nodes"):
                given = getattr(recipe.train, field)
                if field in recipe.train.model_fields_set and given not in (None, 1, "auto"):
                    yield (
                        ("train", field),
                        f"{recipe.model.type} is solved once, in one process; {field} does not apply",
                        f"remove {field}",
                    )


def _steps(kind: str) -> Mapping[str, type[BaseModel]]:
    if kind == "host-step":
        return HOST_STEPS
    if kind == "graph-step":
        from medzoo.nn.steps import GRAPH_STEPS

        return GRAPH_STEPS
    if kind == "augment":
        from medzoo.training.changes import CHANGES

        return CHANGES
    raise ValueError(kind)


def catalog() -> Any:
    """The catalog, or None where torch is not installed (only a recipe's fixed part is checked then)."""
    return Catalog() if has_torch() else None
