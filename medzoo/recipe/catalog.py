"""The protocol by which recipes are checked against the installed types; this package itself knows none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from pydantic import BaseModel

from medzoo.recipe.tree import Path

if TYPE_CHECKING:
    from medzoo.recipe.schema import Recipe

Kind = Literal["data", "model", "host-step", "graph-step", "augment"]

Objection = tuple[Path, str, str | None]
"""What a cross-check found: the path of the field, what is wrong, and a hint or None."""


class Catalog(Protocol):
    """The types that are installed, by kind and name."""

    def names(self, kind: Kind) -> Sequence[str]:
        """The names of all types of a kind."""

    def schema(self, kind: Kind, name: str) -> type[BaseModel]:
        """The parameters of one type. Raises UserError if it cannot be imported here."""

    def metrics(self, task: str) -> Sequence[str]:
        """The names of all metrics of a task."""

    def cross_check(self, recipe: Recipe) -> Iterable[Objection]:
        """Check the parts of a recipe, each valid by itself, against each other, such as a model of
        another task. Called only then, and not for pipelines without a model or data of their own."""
