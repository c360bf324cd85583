"""Commands of the zoo: list, show, fetch, verify."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer

from medzoo.cli.arguments import Json, Model
from medzoo.cli.terminal import print_json
from medzoo.cli.terminal import print_result as show_line
from medzoo.escape import printable


def list_(as_json: Json = False) -> None:
    """List zoo models, recipes, model and data types."""
    from medzoo.commands.show import list_all

    document = list_all()
    if as_json:
        print_json(document)
        return
    from medzoo.report.listing import models_table
    from medzoo.report.summary import Console

    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=200)  # a file or a pipe: a line a model
    if document["models"]:
        console.print(models_table(document["models"], width=console.width))
    else:
        console.print("no zoo models on this machine yet: medzoo train RECIPE makes one")
    for kind in ("recipes", "model_types", "data_types"):
        console.print(f"\n[bold]{kind.replace('_', ' ')}[/]: {', '.join(document[kind]) or 'none'}")


def show(model: Model, as_json: Json = False) -> None:
    """Show card, inputs, outputs, metrics and provenance of a model."""
    from medzoo.commands.show import show as show_model

    document = show_model(model)
    if as_json:
        print_json(document)
        return
    from rich.markdown import Markdown

    from medzoo.report.summary import Console

    console = Console()
    if "card" in document:
        console.print(Markdown(printable(document["card"], keep="\n\t")))
    described = document.get("model", {})
    for name, value in described.items():
        if value not in (None, "", (), []):
            console.print(f"[bold]{name}[/]: {json.dumps(value) if isinstance(value, dict | tuple) else value}")


def fetch(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Model names in the index.")],
    base: Annotated[
        str | None, typer.Option("--from", metavar="BASE", help="http(s)://..., a folder, or a .zip or .tar of one.")
    ] = None,
    index_sha256: Annotated[
        str | None, typer.Option(metavar="DIGEST", help="SHA-256 of the index to trust, in place of this release's.")
    ] = None,
    deadline: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="Time limit for all downloads from a server.")
    ] = 3600,
    min_rate: Annotated[
        float,
        typer.Option(min=0, metavar="BYTES", help="Minimum bytes per second, over 20 s, before a server is given up."),
    ] = 1000,
    as_json: Json = False,
) -> None:
    """Download models of the zoo index."""
    from medzoo.commands.fetch import fetch as run_fetch

    found = run_fetch(models, base=base, index_sha256=index_sha256, deadline=deadline, min_rate=min_rate)
    if as_json:
        print_json({name: str(path) for name, path in found.items()})
        return
    for name, path in found.items():
        show_line(f"{name}: {path}")


def verify(
    model: Annotated[
        str, typer.Argument(metavar="MODEL|ANSWER", help="A model folder, or an answer of predict --json.")
    ],
    source: Annotated[
        str | None, typer.Option("--with", metavar="INPUT", help="Recompute ANSWER for the file that it is for.")
    ] = None,
    by: Annotated[
        str | None, typer.Option("--model", metavar="MODEL", help="With --with: where the answer's model is.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check digests, parity and card of a model folder, or recompute an answer from the digests that it carries."""
    if source is not None:
        from medzoo.commands.answers import verify_answer

        found = verify_answer(model, source=source, model=by)
        if as_json:
            print_json({"agreement": found.agreement, "difference": found.difference, "words": found.words})
        else:
            show_line(f"{found.agreement}: {found.words}")
        if found.agreement == "different":
            raise typer.Exit(1)
        return
    from medzoo.commands.verify import verify as run_verify

    checks = run_verify(model)
    if as_json:
        print_json([{"check": check.name, "words": check.words} for check in checks])
        return
    for check in checks:
        show_line(f"ok  {check.name}: {check.words}")


def doctor(as_json: Json = False) -> None:
    """Show what this machine can do, and try each backend on a known answer."""
    from medzoo.commands.doctor import doctor as look

    found = look()
    if as_json:
        print_json(found.to_json())
    else:
        for line in found.lines():
            show_line(line)
    if not found.healthy:
        raise typer.Exit(2)
