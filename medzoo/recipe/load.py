"""The way in: a recipe from a file or a text. Knows the order of the stages and nothing of any of them."""

from __future__ import annotations

import os
from pathlib import Path

from medzoo.recipe.check import Catalog, check
from medzoo.recipe.document import read_document
from medzoo.recipe.extends import read_file
from medzoo.recipe.faults import Faults
from medzoo.recipe.overrides import Overrides, override
from medzoo.recipe.schema import Recipe
from medzoo.recipe.tree import Table


def load_recipe(source: str | Path, overrides: Overrides = (), *, catalog: Catalog | None = None) -> Recipe:
    """The recipe in the file `source`, with what it extends and `overrides` laid over it.

    `overrides`: texts `key=value` (dotted keys, values as in YAML), or a mapping of dotted keys to Python
    values. Without a `catalog` only the part that every recipe has is checked. Raises UserError with every
    fault, each with file, line and column, or with its override.

    >>> load_recipe("recipe.yaml", ["train.epochs=3"]).train.epochs
    3
    """
    faults = Faults()
    name = os.fspath(source)
    return _finish(read_file(name, faults), name, overrides, catalog, faults)


def read_recipe_text(
    text: str, name: str = "recipe", overrides: Overrides = (), *, catalog: Catalog | None = None
) -> Recipe:
    """The recipe that `text` holds, called `name` in errors; else as `load_recipe`. It extends no file."""
    faults = Faults()
    tree = read_document(text, source=name, order=0, faults=faults)
    if tree is not None and "extends" in tree.values:
        faults.add(tree.keys["extends"], ("extends",), "a recipe given as text cannot extend a file")
        tree = None
    return _finish(tree, name, overrides, catalog, faults)


def _finish(tree: Table | None, name: str, overrides: Overrides, catalog: Catalog | None, faults: Faults) -> Recipe:
    recipe = None
    if tree is not None:
        tree = override(tree, overrides, faults)
        recipe = check(tree, source=name, catalog=catalog, faults=faults)
    if recipe is None or faults:
        raise faults.error()
    return recipe
