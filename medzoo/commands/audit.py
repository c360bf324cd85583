"""`medzoo data`: a recipe's data audited before anything trains on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medzoo.commands.catalog import catalog
from medzoo.commands.data import open_data
from medzoo.commands.locate import find_recipe
from medzoo.data.audit import Audit
from medzoo.data.audit import audit as audit_data
from medzoo.recipe import load_recipe


def audit(recipe: str | Path, overrides: Sequence[str] | Mapping[str, Any] = ()) -> Audit:
    """Geometry, labels, splits and leaks of a recipe's data. Raises UserError if they cannot be opened."""
    opened = open_data(load_recipe(find_recipe(recipe), overrides, catalog=catalog()))
    return audit_data(opened.data, opened.split)
