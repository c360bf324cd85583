"""Commands that check recipes and data: validate, schema, data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medzoo.cli.arguments import Json, Overrides, RecipeName
from medzoo.cli.terminal import print_json, print_message


def validate(recipe: RecipeName, overrides: Overrides = None) -> None:
    """Check a recipe; list all errors as file:line:column."""
    from medzoo.artifact.locate import find_recipe
    from medzoo.data.catalog import catalog, has_torch
    from medzoo.recipe import load_recipe

    loaded = load_recipe(find_recipe(recipe), overrides or (), catalog=catalog())
    print_message(f"{recipe}: valid ({loaded.name}, task {loaded.task}, digest {loaded.digest[:16]})")
    for line in loaded.deprecations:
        print_message(f"warning: {line}")
    if not has_torch():
        print_message("PyTorch is not installed: model parameters, graph steps and augmentations were not checked")


def schema() -> None:
    """Print the JSON Schema of recipes, for editors."""
    from medzoo.data.catalog import Catalog, has_torch
    from medzoo.errors import missing_extra
    from medzoo.recipe import json_schema

    if not has_torch():
        raise missing_extra("torch", "train")
    print_json(json_schema(Catalog()))


def data(
    recipe: RecipeName,
    overrides: Overrides = None,
    as_json: Json = False,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE.html", help="Also write an HTML page with the pairs side by side."),
    ] = None,
    convert: Annotated[
        str | None,
        typer.Option("--convert", metavar="FORMAT", help="Write the data as yolo, coco or nnunet into the folder -o."),
    ] = None,
) -> None:
    """Audit a recipe's data: geometry, labels, splits, leakage; or convert them."""
    if convert is not None:
        from medzoo.commands.audit import convert_data

        made = convert_data(recipe, convert, out, overrides or ())
        if as_json:
            print_json(made.to_json())
            return
        counts = ", ".join(f"{part} {count}" for part, count in made.images.items())
        print_message(f"{made.folder}: {counts}; {made.objects} objects or label maps were read back the same")
        if made.ignored:
            print_message(f"{made.ignored} objects that do not count (difficult, crowds) were left out")
        return
    from medzoo.commands.audit import audit, audit_page
    from medzoo.report.summary import audit_summary

    found = audit(recipe, overrides or ()) if out is None else audit_page(recipe, out, overrides or ())
    if as_json:
        print_json(found.to_json())
    else:
        from medzoo.report.summary import Console

        audit_summary(found.to_json(), console=Console())
