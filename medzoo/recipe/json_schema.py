"""The JSON Schema of a recipe, for editors. Knows the fixed schema, and types by the catalog."""

from __future__ import annotations

from typing import Any

from medzoo.recipe.check import Catalog, Kind
from medzoo.recipe.fields import FORMER
from medzoo.recipe.schema import Recipe
from medzoo.recipe.section import Choice, ModelSection, Step
from medzoo.recipe.split import DataSection
from medzoo.task import task_names

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]


def json_schema(catalog: Catalog | None = None) -> Schema:
    """JSON Schema (draft 2020-12) of a recipe; with a `catalog`, one branch for each type it names.

    A recipe that extends another may leave out what the other says, so it is held to the same schema
    without its required keys.
    """
    schema = Recipe.model_json_schema(by_alias=True)
    definitions: Schema = schema.pop("$defs")
    for section in (DataSection, ModelSection, Step):
        definitions[section.__name__] = _open(definitions[section.__name__])
    if catalog is not None:
        _close(schema, definitions, catalog)
    schema["anyOf"] = [{"required": ["data", "model"]}, {"required": ["members"]}]
    schema["properties"]["extends"] = {
        "type": "string",
        "description": "Another recipe file that this one changes.",
    }
    definitions["Recipe"] = schema
    # Which metrics there are depends on the task, which only the other file may say.
    partial = {f"partial.{name}": _partial(value) for name, value in definitions.items()}
    partial["partial.Recipe"].pop("allOf", None)
    return {
        "$schema": DIALECT,
        "title": "medzoo recipe",
        "type": "object",
        "if": {"required": ["extends"]},
        "then": {"$ref": "#/$defs/partial.Recipe"},
        "else": {"$ref": "#/$defs/Recipe"},
        "$defs": {**definitions, **partial},
    }


def _open(section: Schema) -> Schema:
    """A section of a type that is not known: its own fields are anything."""
    properties = {key: value for key, value in section["properties"].items() if key != "fields"}
    return {**section, "properties": properties, "additionalProperties": True}


def _close(schema: Schema, definitions: Schema, catalog: Catalog) -> None:
    """Puts the branches of every kind of type in place of the open sections."""
    steps: tuple[tuple[str, str, Kind], ...] = (
        ("PreprocessSection", "host", "host-step"),
        ("PreprocessSection", "graph", "graph-step"),
        ("TrainSection", "augment", "augment"),
    )
    for owner, field, kind in steps:
        definitions[owner]["properties"][field]["items"] = _branches(kind, Step, definitions, catalog)
    definitions["DataSection"] = _branches("data", DataSection, definitions, catalog)
    definitions["ModelSection"] = _branches("model", ModelSection, definitions, catalog)
    tasks = [
        {
            "properties": {
                "task": {"const": task},
                "metrics": {"items": {"enum": sorted(catalog.metrics(task))}},
            }
        }
        for task in task_names()
    ]
    schema["allOf"] = [
        {"if": {"properties": {"task": t["properties"]["task"]}, "required": ["task"]}, "then": t} for t in tasks
    ]


def _branches(kind: Kind, section: type[Choice], definitions: Schema, catalog: Catalog) -> Schema:
    shared: Schema = definitions[section.__name__]
    names = sorted(catalog.names(kind))
    branches = []
    for name in names:
        definitions[f"{kind}.{name}"] = _branch(kind, name, section.selector, shared, definitions, catalog)
        branches.append({"$ref": f"#/$defs/{kind}.{name}"})
    return {"oneOf": branches} if branches else {"not": {}}


def _branch(kind: Kind, name: str, selector: str, shared: Schema, definitions: Schema, catalog: Catalog) -> Schema:
    """One type: the section's shared keys and the type's own, with the selector fixed to its name."""
    template = f"#/$defs/{kind}.{name}.{{model}}"
    own = catalog.schema(kind, name).model_json_schema(by_alias=True, ref_template=template)
    for inner, value in own.pop("$defs", {}).items():
        definitions[f"{kind}.{name}.{inner}"] = value
    common = {key: value for key, value in shared["properties"].items() if key != selector}
    properties = {selector: {**shared["properties"][selector], "const": name}}
    properties |= {key: value for key, value in own.get("properties", {}).items() if key != selector} | common
    for present, former in FORMER.get(kind, {}).items():
        if present in properties and former not in properties:
            properties[former] = {**properties[present], "deprecated": True, "description": f"former name of {present}"}
    required = dict.fromkeys([*shared["required"], *own.get("required", [])])
    return {**own, "title": name, "properties": properties, "required": list(required)}


def _partial(schema: Any) -> Any:
    """The schema without required keys; a mapping may then fit several branches."""
    if isinstance(schema, list):
        return [_partial(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    partial: Schema = {}
    for key, value in schema.items():
        if key == "required" and isinstance(value, list):
            continue
        if key == "$ref":
            partial[key] = str(value).replace("#/$defs/", "#/$defs/partial.")
        elif key == "oneOf":
            partial["anyOf"] = _partial(value)
        else:
            partial[key] = _partial(value)
    return partial
