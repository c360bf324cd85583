"""The command line. Every command imports what it needs when it runs.

Results go to stdout; messages, progress and errors to stderr. Exit code 0, or 2 with one line per error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer

from medzoo.cli import deployment, evaluation, prediction, recipes, training, zoo
from medzoo.cli.terminal import debugging, fail, print_result, printable_output
from medzoo.errors import UserError

# In the order of `medzoo --help`.
COMMANDS: dict[str, Callable[..., Any]] = {
    "list": zoo.list_,
    "show": zoo.show,
    "validate": recipes.validate,
    "schema": recipes.schema,
    "data": recipes.data,
    "plan": training.plan,
    "train": training.train,
    "ensemble": training.ensemble,
    "tune": training.tune,
    "reproduce": training.reproduce,
    "evaluate": evaluation.evaluate,
    "predict": prediction.predict,
    "guard": deployment.guard,
    "calibrate": deployment.calibrate,
    "export": deployment.export,
    "verify": zoo.verify,
    "benchmark": evaluation.benchmark,
    "serve": deployment.serve,
    "token": deployment.token,
    "report": evaluation.report,
    "compare": evaluation.compare,
    "accept": evaluation.accept,
    "fetch": zoo.fetch,
    "next": evaluation.next_,
    "doctor": zoo.doctor,
}

app = typer.Typer(
    help="A declarative model zoo for medical images.",
    epilog="--debug, anywhere, shows the traceback of an error.",
    add_completion=False,
    # Plain help: drawing it with rich takes longer than everything else that --help does.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for name, command in COMMANDS.items():
    app.command(name)(command)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print_result(f"medzoo {version('medzoo')}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options before the command; the help text is that of the app."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Entry point; `--debug` anywhere shows tracebacks, and no arguments show the help."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"] or ["--help"]
    with printable_output():
        _run(given, debug=debug)


def _run(given: list[str], *, debug: bool) -> NoReturn:
    debugging.set(debug)
    try:
        code = app(given, prog_name="medzoo", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except UserError as error:
        if debug:
            raise
        fail(*(f"error: {fault}" for fault in error.faults))
    except KeyboardInterrupt:
        fail("error: interrupted", code=130)
    except BrokenPipeError:
        # The reader of stdout closed it, as with `| head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if debug:
            raise
        if not hasattr(error, "format_message"):
            fail(f"error: {type(error).__name__}: {' '.join(str(error).split())} (use --debug for the traceback)")
        # A usage error of the command-line parser: its own message, in our one line.
        fail(f"error: {' '.join(error.format_message().split())} (medzoo --help)")
