"""Add pages to the site that come from outside docs/: the recipe reference, the models' cards, the benchmarks, ...

A hook of mkdocs (`make docs`); git keeps none of these pages. Links in docs/ lead to files of the repository, so that
they work when the pages are read there; on the site, those that leave docs/ lead to the page made from that file.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
# Files of the repository and the pages that they become.
PAGES = {
    "benchmarks/README.md": "reference/speed.md",
    "export/README.md": "reference/deployment.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
# What else links may lead to, and where that is told on the site.
TOLD_IN = {
    **PAGES,
    "recipes/recipe.schema.json": "reference/recipe.md",
    "zoo": "reference/zoo.md",
    "README.md": "index.md",
}
LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?!\w+:|#)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
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
    files.append(File.generated(config, "reference/zoo.md", content=f"# The zoo\n\nOne card per model.\n{table}\n"))
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=site_links(text, source=source, page=page)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links that leave docs/ to pages of the site."""
    path = page.file.src_uri
    return site_links(markdown, source=f"docs/{path}", page=path) if page.file.generated_by is None else markdown


def site_links(markdown: str, *, source: str, page: str) -> str:
    """The text of a file of the repository with its links as the page `page` needs them.

    Links to files that are on no page become plain text.
    """

    def lead(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link["path"]))
        told = TOLD_IN.get(target)
        if target.startswith("docs/"):
            told = target.removeprefix("docs/")
        elif re.fullmatch(r"zoo/[\w-]+/README\.md", target):
            told = target
        if told is None:
            return link["text"]
        return f"[{link['text']}]({os.path.relpath(told, posixpath.dirname(page) or '.')}{link['anchor'] or ''})"

    return LINK.sub(lead, markdown)


def recipe_reference() -> str:
    """Markdown that lists every field of a recipe, from its JSON Schema."""
    schema = json.loads((ROOT / "recipes" / "recipe.schema.json").read_text(encoding="utf-8"))
    definitions: Mapping[str, Any] = schema["$defs"]
    lines = ["# The fields of a recipe", "", "Generated from the JSON Schema that editors check recipes with.", ""]
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
        yield "| field | type | default | meaning |"
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
