"""Recipes: YAML in, a checked Recipe or every fault of it at once out. Knows no model, no torch, no step."""

from medzoo.recipe.check import Catalog, Kind
from medzoo.recipe.json_schema import json_schema
from medzoo.recipe.load import load_recipe, read_recipe_text
from medzoo.recipe.schema import Recipe, Task
from medzoo.recipe.section import ModelSection, Step
from medzoo.recipe.split import DataSection, SplitSection
from medzoo.recipe.train import TrainSection

__all__ = [
    "Catalog",
    "DataSection",
    "Kind",
    "ModelSection",
    "Recipe",
    "SplitSection",
    "Step",
    "Task",
    "TrainSection",
    "json_schema",
    "load_recipe",
    "read_recipe_text",
]
