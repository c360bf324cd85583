"""Arguments and options that several commands share, and the values they allow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medzoo.errors import UserError

Model = Annotated[str, typer.Argument(metavar="MODEL", help="A zoo name, a model folder, or an .onnx file.")]
RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of one in recipes/.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Fields to change, such as train.epochs=3."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
Out = Annotated[Path | None, typer.Option("-o", "--out", metavar="FOLDER", help="Where the output goes.")]
Backend = Annotated[str, typer.Option(help="auto, onnx or torch.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


def one_of(option: str, value: str, allowed: tuple[str, ...]) -> Any:
    if value not in allowed:
        raise UserError(f"{value!r} is not one of {', '.join(allowed)}", where=option)
    return value


def numbers(option: str, value: str, count: int) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in value.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        raise UserError(f"{value!r} is not {count} numbers with commas between them", where=option)
    return numbers
