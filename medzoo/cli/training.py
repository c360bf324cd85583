"""Commands that train models: train, reproduce."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from medzoo.cli.arguments import Json, Minutes, Model, Out, Overrides, RecipeName, TaskName, one_of
from medzoo.cli.terminal import print_json, print_message, print_result
from medzoo.errors import UserError
from medzoo.escape import escaped


def train(
    recipe: RecipeName,
    overrides: Overrides = None,
    out: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume from the last complete checkpoint.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Resume even if recipe, data or versions differ.")] = False,
    folds: Annotated[int, typer.Option(min=0, help="Number of folds for cross-validation; 0 for none.")] = 0,
    jobs: Annotated[int, typer.Option(min=0, help="Folds trained at once; 0: as many as fit.")] = 0,
    engine: Annotated[str, typer.Option(help="local, or ray: the workers of a Ray cluster.")] = "local",
    minutes: Minutes = 15.0,
    task: TaskName = None,
    parent: Annotated[
        str | None, typer.Option("--from", metavar="MODEL", help="Begin with the weights of this trained model.")
    ] = None,
    freeze: Annotated[
        list[str] | None,
        typer.Option("--freeze", metavar="NAME", help="Keep a part of the net as MODEL has it, such as backbone."),
    ] = None,
) -> None:
    """Train a recipe, or plan and train on a folder of images with labels, and write a model folder."""
    from medzoo.report.summary import Console, training_summary

    console = Console(stderr=True)
    on_ray = one_of("--engine", engine, ("local", "ray")) == "ray"
    if folds and on_ray:
        raise UserError("cross-validation runs its folds on this machine", "--engine ray", "omit --folds or --engine")
    if folds:
        from medzoo.commands.train_folds import cross_validate
        from medzoo.report.summary import metrics_table

        found = cross_validate(
            recipe, overrides or (), folds=folds, out=out, resume=resume, force=force, jobs=jobs, console=console
        )
        console.print(metrics_table(found.metrics))
        console.print(f"\nfolds and cross-validation.json are in {found.folder}")
        return
    if on_ray:
        from medzoo.commands.train_ray import train_on_ray as run_training
    else:
        from medzoo.commands.train import train

        run_training = partial(train, minutes=minutes, task=task, parent=parent, freeze=freeze or ())
    run = run_training(recipe, overrides or (), out=out, resume=resume, force=force, console=console)
    training_summary(run.folder, run.manifest, console=console)


def plan(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A folder of images with labels, or a file that says.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="RECIPE.yaml", help="Write the recipe here.")
    ] = None,
    task: TaskName = None,
    layout: Annotated[str | None, typer.Option("--type", metavar="LAYOUT", help="The data layout, if two fit.")] = None,
    minutes: Minutes = 15.0,
    explain: Annotated[bool, typer.Option("--explain", help="Also draw the images and histograms as a PNG.")] = False,
    as_json: Json = False,
) -> None:
    """Look at a folder and write a commented recipe that fits the data and this machine."""
    from medzoo.commands.plan import explain_plan, write_plan
    from medzoo.commands.plan import plan as make_plan

    made = make_plan(data, task=task, layout=layout, minutes=minutes)
    for sentence in made.sentences:
        print_message(sentence)
    if made.recognised.others:
        print_message(f"also possible: {', '.join(made.recognised.others)}")
    if explain:
        print_message(f"drawn: {explain_plan(made, out)}")
    if out is not None:
        print_message(f"{write_plan(made, out)}: medzoo train {out}")
    if as_json:
        print_json(made.to_json())
    elif out is None:
        print_result(made.text.rstrip())


def ensemble(
    folds: Annotated[Path, typer.Argument(metavar="FOLDS", help="The folder that train --folds wrote.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="Output folder.")],
) -> None:
    """Make one model, and one ONNX file, of the folds of a segmenter."""
    from medzoo.commands.ensemble import ensemble as join_folds

    folder = join_folds(folds, out=out)
    members = folder.manifest["split"]["folds"]
    print_result(f"{folder.name} of {members} networks is in {escaped(str(out))}; next: medzoo predict {out} SCAN")


def tune(
    recipe: RecipeName,
    overrides: Overrides = None,
    out: Out = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials in all; 20 if no minutes are given.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.1, help="Minutes after which no trial is begun.")] = None,
) -> None:
    """Search the fields that a recipe's `tune` names, by validation alone; then train the best."""
    from medzoo.commands.tune import tune as search
    from medzoo.report.summary import Console, training_summary

    console = Console(stderr=True)
    found = search(recipe, overrides or (), trials=trials, minutes=minutes, out=out, console=console)
    if found.run is not None:
        training_summary(found.run.folder, found.run.manifest, console=console)


def reproduce(model: Model, out: Out = None, as_json: Json = False) -> None:
    """Train a model again from its folder and list the differences."""
    from medzoo.commands.reproduce import reproduce as run_again
    from medzoo.report.summary import Console

    found = run_again(model, out=out, console=Console(stderr=True))
    if as_json:
        print_json(found.to_dict())
        return
    for line in found.lines():
        print_result(line)
