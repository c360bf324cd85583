"""`medzoo data`: a recipe's data audited before anything trains on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medzoo.commands.catalog import catalog
from medzoo.commands.data import OpenData, open_data
from medzoo.commands.locate import find_recipe
from medzoo.data.audit import Audit
from medzoo.data.audit import audit as audit_data
from medzoo.errors import UserError
from medzoo.recipe import Recipe, load_recipe


def audit(recipe: str | Path, overrides: Sequence[str] | Mapping[str, Any] = ()) -> Audit:
    """Geometry, labels, splits and leaks of a recipe's data. Raises UserError if they cannot be opened."""
    loaded = load_recipe(find_recipe(recipe), overrides, catalog=catalog())
    opened = open_data(loaded)
    return audit_data(opened.data, opened.split, mirrored=loaded.data.mirrors)


def checked_audit(recipe: Recipe, opened: OpenData) -> Audit:
    """The audit that a training begins with.

    Raises UserError for a split with the same patient or image on two sides, unless the recipe allows it.
    """
    found = audit_data(opened.data, opened.split, mirrored=recipe.data.mirrors)
    if found.leaks and not recipe.data.allow_leaks:
        first = found.leaks[0]
        words = {"patient": "the same patient", "identical": "the same bytes", "near": "the same content"}
        raise UserError(
            f"the split leaks: {len(found.leaks)} pairs are on two sides, the first ({words[first.kind]}) "
            f"{first.a} in {first.splits[0]} and {first.b} in {first.splits[1]}",
            where=f"{recipe.source}: data.split",
            hint="medzoo data lists them; split by a group that holds them together, or set data.allow_leaks=true",
        )
    return found
