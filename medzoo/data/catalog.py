"""The catalog that recipes are checked against: registered types, steps, tasks and metrics with their options.

The options of model types, graph steps and augmentations need torch; without it they are checked on the machine that
trains.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict

from medzoo import registry
from medzoo.recipe import Kind, Recipe
from medzoo.task import task_of


def has_torch() -> bool:
    """Return True if torch is installed; imports nothing."""
    return importlib.util.find_spec("torch") is not None


class Catalog:
    """The closed set of names, and the options of each, as medzoo.recipe.Catalog asks for them."""

    def names(self, kind: Kind) -> Sequence[str]:
        """Names of a kind: "data", "model", "host-step", "graph-step" or "augment"."""
        return list(registry.names(kind))

    def schema(self, kind: Kind, name: str) -> type[BaseModel]:
        """The pydantic model of one name's options."""
        entry = registry.entry(kind, name)
        schema: type[BaseModel] = entry.params if kind in ("data", "model") else entry
        return schema

    def metrics(self, task: str) -> Sequence[str]:
        """Metrics of a task."""
        return task_of(task).metrics

    def cross_check(self, recipe: Recipe) -> Iterable[tuple[tuple[str | int, ...], str, str | None]]:
        """Check fields against each other: yields (path of the field, error, hint)."""
        entry = registry.entry("model", recipe.model.type)
        if entry.task != recipe.task:
            yield ("model", "type"), f"{recipe.model.type} is for task {entry.task}, not {recipe.task}", None
        yield from _check_task(recipe)
        if entry.learns == "closed-form":
            for field in ("epochs", "max_steps", "devices", "nodes"):
                given = getattr(recipe.train, field)
                if field in recipe.train.model_fields_set and given not in (None, 1, "auto"):
                    yield (
                        ("train", field),
                        f"{recipe.model.type} is fitted in closed form in one process; {field} does not apply",
                        f"remove {field}",
                    )


class Unchecked(BaseModel):
    """Options that can only be checked on the machine that trains."""

    model_config = ConfigDict(extra="allow")


class _All(tuple[str, ...]):
    """Names that cannot be checked: all are accepted."""

    def __contains__(self, name: object) -> bool:
        return True


class CatalogWithoutTorch(Catalog):
    """The catalog where torch is not installed: data, host steps and metrics are checked whole, models by name."""

    def names(self, kind: Kind) -> Sequence[str]:
        """See Catalog; of steps in the graph and of augmentations all names are taken."""
        return _All() if kind in ("graph-step", "augment") else super().names(kind)

    def schema(self, kind: Kind, name: str) -> type[BaseModel]:
        """See Catalog; options of what torch computes are not looked at."""
        return super().schema(kind, name) if kind in ("data", "host-step") else Unchecked

    def cross_check(self, recipe: Recipe) -> Iterable[tuple[tuple[str | int, ...], str, str | None]]:
        """See Catalog; the data alone."""
        return _check_task(recipe)


def _check_task(recipe: Recipe) -> Iterable[tuple[tuple[str | int, ...], str, str | None]]:
    tasks = registry.entry("data", recipe.data.type).tasks
    if recipe.task not in tasks:
        wrong = f"data type {recipe.data.type} does not support task {recipe.task}"
        yield ("data", "type"), wrong, f"it supports {', '.join(tasks)}"


def catalog() -> Catalog:
    """Return the catalog; without torch, the part of it that can be checked."""
    return Catalog() if has_torch() else CatalogWithoutTorch()
