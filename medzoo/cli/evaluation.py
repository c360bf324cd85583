"""Commands that measure models: evaluate, compare, accept, benchmark, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medzoo.cli.arguments import Backend, Device, Json, Model, Out, Overrides, one_of
from medzoo.cli.terminal import print_json, print_message, print_result
from medzoo.errors import UserError


def evaluate(
    model: Model,
    overrides: Overrides = None,
    data: Annotated[str | None, typer.Option(metavar="RECIPE", help="Evaluate on this recipe's data.")] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    backend: Backend = "auto",
    device: Device = "auto",
    record: Annotated[
        bool, typer.Option("--record", help="Write the metrics of its test split and the card into the model folder.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Evaluate a model on its test split, or on another recipe's data."""
    if record:
        if data or overrides or split != "test":
            raise UserError(
                "only the metrics of the model's own test split can be recorded",
                where="--record",
                hint="pass MODEL alone",
            )
        from medzoo.commands.evaluate import record_evaluation

        folder = record_evaluation(model)
        print_message(f"metrics, predictions, worst cases and card are in {folder.path}")
        show_metrics(folder.manifest["metrics"], as_json=as_json)
        return
    from medzoo.commands.evaluate import evaluate as run_evaluation

    result = run_evaluation(
        model,
        data=data,
        split=one_of("--split", split, ("train", "val", "test")),
        overrides=overrides or (),
        backend=one_of("--backend", backend, ("auto", "onnx", "torch")),
        device=one_of("--device", device, ("auto", "cpu", "cuda", "tensorrt")),
    )
    show_metrics(result.to_dict(), as_json=as_json)


def compare(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Two or more zoo names or model folders.")],
    on: Annotated[
        list[str] | None,
        typer.Option("--on", metavar="FILE", help="Of two models: whose answers change (may be given many times)."),
    ] = None,
    by: Annotated[float, typer.Option(min=0, max=1, help="With --on: list changes from this size on.")] = 0.1,
    as_json: Json = False,
) -> None:
    """Compare models on the same items, with paired intervals, and list the differences of their recipes.

    With --on, before an upgrade: which answers to these files change, by how much, most changed first.
    """
    if on:
        _compare_answers(models, on, by=by, as_json=as_json)
        return
    from medzoo.commands.compare import compare as run_compare

    found = run_compare(models)
    if as_json:
        print_json(found.to_dict())
        return
    from medzoo.report.summary import Console, comparison_tables

    console = Console()
    for table in comparison_tables(found.to_dict()):
        console.print(table)


def _compare_answers(models: list[str], files: list[str], *, by: float, as_json: bool) -> None:
    from medzoo.commands.answers import changed_answers
    from medzoo.commands.predict import expand_folders
    from medzoo.escape import escaped

    if len(models) != 2:
        raise UserError("answers are compared of two models, OLD and NEW", where="--on")
    changes = changed_answers(models[0], models[1], expand_folders(files))
    listed = [one for one in changes if one.change >= by]
    if as_json:
        print_json(
            {"by": by, "inputs": len(changes), "changed": len(listed), "answers": [c.to_dict() for c in changes]}
        )
        return
    for one in listed:
        print_result(f"{one.change:.3f}  {escaped(one.input)}: {escaped(one.words)}")
    print_message(f"{len(listed)} of {len(changes)} answers change by {by:g} or more")


def accept(
    model: Model,
    on: Annotated[
        str, typer.Option("--on", metavar="RECIPE|FOLDER", help="Local labelled cases: a recipe, or a folder of them.")
    ],
    rules: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML: rules: [{figure: auc, at_least: 0.85, bound: low}].")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="PAGE.html", help="Default: NAME-acceptance.html.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Accept a model at a site, or not: digests, parity here, figures beside the card's, rules; one page to sign.

    Exit code 0: passed, 1: failed by the rules, 2: could not be tried.
    """
    from medzoo.commands.accept import accept as run_accept

    found = run_accept(model, on=on, rules=rules, out=out)
    if as_json:
        print_json(found.to_dict())
    else:
        for one in found.rules:
            print_result(f"{'passed' if one.passed else 'FAILED'}  {one.rule}: {one.found}")
        print_result(str(found.page))
    print_message(f"{found.model}: {'passed' if found.passed else 'failed'}, on {found.items} items")
    if not found.passed:
        raise typer.Exit(1)


def benchmark(
    model: Model,
    out: Out = None,
    size: Annotated[
        int | None, typer.Option(min=8, help="Side of the inputs in pixels; default 256, for volumes 64.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0, help="Approximate measuring time.")] = 20,
    record: Annotated[
        bool, typer.Option("--record", help="Write the results into the model folder and its card.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure latency, throughput and memory of every backend and precision, beside parity and loss of the metric."""
    from medzoo.commands.benchmark import benchmark as run_benchmark
    from medzoo.report.speed import speed_table, write_speed

    found = run_benchmark(model, size=size, seconds=seconds, say=print_message).to_dict()
    if record:
        from medzoo.commands.benchmark import record_speed

        print_message(f"written to the card in {record_speed(model, found).path}")
    if out is not None:
        write_speed(found, out)
        print_message(f"written to {out}")
    if as_json:
        print_json(found)
        return
    from medzoo.report.summary import Console

    # Whole columns, however narrow the terminal.
    console = Console(width=max(Console().width, 200))
    console.print(speed_table(found))
    for name, reason in found["absent"].items():
        print_message(f"not measured: {name} ({reason})")


def report(
    model: Model,
    out: Annotated[Path | None, typer.Option("-o", "--out", metavar="FILE.html", help="Default: NAME.html.")] = None,
) -> None:
    """Write a self-contained HTML page about a model: metrics, curves, worst cases, its worst scan in a viewer."""
    from medzoo.commands.report import report as run_report

    path, lacks = run_report(model, out=out)
    if lacks:
        print_message(lacks)
    print_result(str(path))


def show_metrics(document: Any, *, as_json: bool) -> None:
    if as_json:
        print_json(document)
        return
    from medzoo.report.summary import Console, metrics_table

    Console().print(metrics_table(document["figures"]))


def next_(
    model: Model,
    unlabelled: Annotated[list[str], typer.Argument(metavar="UNLABELLED...", help="Images, or folders of them.")],
    count: Annotated[int, typer.Option(min=1, help="Images to name.")] = 20,
    as_json: Json = False,
) -> None:
    """Order unlabelled images by what labelling them would teach."""
    from medzoo.commands.next import next_to_label

    found = next_to_label(model, unlabelled, count=count)
    for path, why in found.failed:
        print_message(f"left out: {path}: {why}")
    if as_json:
        print_json([one.to_dict() for one in found.candidates])
        return
    for one in found.candidates:
        print_result(one.input)
