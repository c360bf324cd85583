"""Requirements of every recipe in recipes/."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medzoo.data.catalog import Catalog
from medzoo.recipe import json_schema, load_recipe, read_recipe_text

FOLDER = Path(__file__).resolve().parents[2] / "recipes"
RECIPES = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_is_valid_named_as_its_file_and_says_its_command(path: Path) -> None:
    recipe = load_recipe(path, catalog=Catalog())
    assert recipe.name == path.stem
    assert recipe.summary
    assert recipe.license
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith(f"# medzoo train recipes/{path.name}")
    assert lines[1] == "# yaml-language-server: $schema=recipe.schema.json"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_resolved_recipe_reads_back_to_the_same(path: Path) -> None:
    recipe = load_recipe(path, ["train.seed=7"], catalog=Catalog())
    again = read_recipe_text(recipe.resolved(), "resolved", catalog=Catalog())
    assert again == recipe
    assert again.digest == recipe.digest


def test_schema_file_is_the_one_that_the_types_give() -> None:
    written = json.loads((FOLDER / "recipe.schema.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(json_schema(Catalog()))), "run: make schema"
