"""What a command prints: results on stdout, words on stderr."""

from __future__ import annotations

import json
import sys
from typing import Any, NoReturn

import typer


def print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=1, ensure_ascii=False, default=str))


def say(words: str) -> None:
    typer.echo(words, err=True)


def fail(words: str, *, code: int = 2) -> NoReturn:
    typer.echo(words, err=True)
    sys.exit(code)
