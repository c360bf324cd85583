"""Pages of the site that come from elsewhere: the recipe reference from the schema, the models' cards, the benchmarks.

A hook of mkdocs (`make docs`); nothing of it is kept in git.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
KINDS = {
    "Data types": "data.",
    "Model types": "model.",
    "Host steps": "host-step.",
    "Graph steps": "graph-step.",
    "Augmentations": "augment.",
}
Definitions = Mapping[str, Any]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    files.append(File.generated(config, "reference/recipe.md", content=recipe_reference()))
    for folder in sorted(path.parent for path in ROOT.glob("zoo/*/manifest.json")):
        card = (folder / "README.md").read_text(encoding="utf-8")
        files.append(File.generated(config, f"zoo/{folder.name}/README.md", content=card))
        for picture in folder.glob("*.jpg"):
            files.append(File.generated(config, f"zoo/{folder.name}/{picture.name}", content=picture.read_bytes()))
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("<!-- zoo -->")[1].split("<!-- /zoo -->")[0]
    table = table.replace("](zoo/", "](../zoo/")
    files.append(File.generated(config, "reference/zoo.md", content=f"# The zoo\n\nA card a model.\n{table}\n"))
    speed = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    speed = speed.replace("[results/](results)", "`benchmarks/results`")
    files.append(File.generated(config, "reference/speed.md", content=speed))
    return files


def recipe_reference() -> str:
    """Every field of a recipe, from its JSON Schema."""
    schema = json.loads((ROOT / "recipes" / "recipe.schema.json").read_text(encoding="utf-8"))
    definitions: Mapping[str, Any] = schema["$defs"]
    lines = ["# The fields of a recipe", "", "Generated from the schema that editors check recipes by.", ""]
    lines += _section("Recipe", definitions["Recipe"], definitions)
    for name in ("Data", "Split", "Preprocess", "Model", "Train", "Checkpoint", "Export"):
        lines += _section(name, definitions[f"{name}Section"], definitions)
    for title, prefix in KINDS.items():
        found = [name for name in sorted(definitions) if name.startswith(prefix)]
        if found:
            lines += [f"## {title}", ""]
            for name in found:
                lines += _section(name.removeprefix(prefix), definitions[name], definitions, level=3)
    return "\n".join(lines) + "\n"


def _section(title: str, section: Mapping[str, Any], definitions: Definitions, *, level: int = 2) -> Iterator[str]:
    yield f"{'#' * level} {title}"
    yield ""
    if section.get("description"):
        yield " ".join(section["description"].split()).replace("<", "&lt;")
        yield ""
    elif "oneOf" in section:
        yield "One of the types below; `type` says which."
        yield ""
    properties = section.get("properties", {})
    if properties:
        yield "| field | type | default | what |"
        yield "| --- | --- | --- | --- |"
        required = set(section.get("required", ()))
        for name, field in properties.items():
            default = f"`{json.dumps(field['default'])}`" if "default" in field else ""
            default = "required" if name in required else default
            told = field.get("description") or definitions.get(_named(field), {}).get("description", "")
            words = " ".join(told.split()).replace("|", "\\|").replace("<", "&lt;")
            yield f"| `{name}` | {_type(field, definitions)} | {default} | {words} |"
        yield ""


def _named(field: Mapping[str, Any]) -> str:
    """The definition that a field refers to, "" for one of its own."""
    return str(field.get("$ref", "")).rpartition("/")[2]


def _type(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "$ref" in field:
        return _named(field).rpartition(".")[2].removesuffix("Section")
    if "enum" in field:
        return " \\| ".join(f"`{json.dumps(value)}`" for value in field["enum"])
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    for key in ("anyOf", "oneOf"):
        if key in field:
            kinds = [_type(one, definitions) for one in field[key]]
            return " or ".join(dict.fromkeys(kinds)) if len(kinds) <= 6 else "one of the types below"
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}), definitions)}"
    return str(field.get("type", "anything"))
