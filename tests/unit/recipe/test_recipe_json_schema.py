"""The JSON Schema for editors: takes what the loader takes, refuses a typo."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from medzoo.recipe import json_schema
from medzoo.recipe.document import read_document
from medzoo.recipe.faults import Faults
from medzoo.recipe.tree import plain


def value(text: str) -> Any:
    tree = read_document(text, source="t", order=0, faults=Faults())
    assert tree is not None
    return plain(tree)


def valid(schema: dict[str, Any], text: str) -> bool:
    return bool(jsonschema.Draft202012Validator(schema).is_valid(value(text)))


@pytest.fixture
def schema(catalog: Any) -> dict[str, Any]:
    class Installed(type(catalog)):  # type: ignore[misc]
        def names(self, kind: str) -> list[str]:
            return [name for name in super().names(kind) if name != "needs-more"]

    return json_schema(Installed())


def test_it_is_a_schema(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator.check_schema(json_schema())


def test_a_recipe_is_valid(schema: dict[str, Any], text: str) -> None:
    jsonschema.Draft202012Validator(schema).validate(value(text))
    jsonschema.Draft202012Validator(json_schema()).validate(value(text))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("task:", "tsak:"),
        ("epochs: 20", "epochz: 20"),
        ("epochs: 20", "epochs: twenty"),
        ("type: patch-cnn", "type: patch-cn"),
        ("channels:", "chanels:"),
        ("op: orient", "op: oriented"),
        ("where: nonzero", "where: nowhere"),
        ("group: subject, ", ""),
        ("root:", "rooot:"),
        ("dice", "auc"),
        ("model:", "modle:"),
        ("name: brain-tissue", "name: Brain"),
    ],
)
def test_a_typo_is_not(schema: dict[str, Any], text: str, old: str, new: str) -> None:
    assert old in text
    assert not valid(schema, text.replace(old, new))


def test_a_recipe_that_extends_may_leave_things_out(schema: dict[str, Any]) -> None:
    assert valid(schema, "extends: brain.yaml\nmodel: {dropout: 0.5}\ntrain: {lr: 1e-2}\nmetrics: [dice]")
    assert not valid(schema, "extends: brain.yaml\nmodel: {dropuot: 0.5}")
    assert not valid(schema, "extends: brain.yaml\ntrain: {lr: high}")
    assert not valid(schema, "model: {dropout: 0.5}")


def test_a_pipeline_is_valid(schema: dict[str, Any]) -> None:
    assert valid(schema, "medzoo: 1\nname: c\ntask: detect\nlabels: [lesion]\nmembers: {find: x}")


def test_every_fixed_field_is_described() -> None:
    definitions = json_schema()["$defs"]
    for name in (
        "Recipe",
        "DataSection",
        "SplitSection",
        "TrainSection",
        "ExportSection",
        "ModelSection",
        "Step",
    ):
        for key, field in definitions[name]["properties"].items():
            target = definitions[field["$ref"].rpartition("/")[2]] if "$ref" in field else {}
            assert field.get("description") or target.get("description"), f"{name}.{key}"
