"""Terminal output of commands: results on stdout, messages on stderr, control characters escaped."""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn, TextIO

import typer

from medzoo.escape import json_text, printable

debugging: ContextVar[bool] = ContextVar("debugging", default=False)
"""True while a command runs with --debug."""


def print_json(document: Any) -> None:
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "")
    typer.echo(json_text(document, indent=1, ascii_only=not encoding.startswith("utf"), default=str))


def print_result(line: str) -> None:
    """Print a line of a result on stdout."""
    typer.echo(printable(line))


def print_message(line: str) -> None:
    """Print a message on stderr."""
    typer.echo(printable(line), err=True)


def fail(*lines: str, code: int = 2) -> NoReturn:
    for line in lines:
        print_message(line)
    sys.exit(code)


def show_traceback(error: BaseException) -> None:
    """Print the traceback of an exception, for --debug."""
    for line in "".join(traceback.format_exception(error)).splitlines():
        print_message(line)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        return printable(super().format(record), keep="\n\t" if record.exc_info else "")


@contextmanager
def printable_output() -> Iterator[None]:
    """Escape warnings and log lines of libraries, which may quote a file, and characters that stdout cannot encode."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")

    def show_warning(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        print_message(f"warning: {message}")

    shown, root = warnings.showwarning, logging.getLogger()
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(levelname)s: %(name)s: %(message)s"))
    handler.setLevel(logging.WARNING)
    ours = not root.handlers
    if ours:
        root.addHandler(handler)
    warnings.showwarning = show_warning
    try:
        yield
    finally:
        warnings.showwarning = shown
        root.removeHandler(handler)
