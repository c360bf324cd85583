"""Commands that train models: train, reproduce."""

from __future__ import annotations

from typing import Annotated

import typer

from medzoo.cli.arguments import Json, Model, Out, Overrides, RecipeName, one_of
from medzoo.cli.terminal import print_json, print_result
from medzoo.errors import UserError


def train(
    recipe: RecipeName,
    overrides: Overrides = None,
    out: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume from the last complete checkpoint.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Resume even if recipe, data or versions differ.")] = False,
    folds: Annotated[int, typer.Option(min=0, help="Number of folds for cross-validation; 0 for none.")] = 0,
    jobs: Annotated[int, typer.Option(min=0, help="Folds trained at once; 0: as many as fit.")] = 0,
    engine: Annotated[str, typer.Option(help="local, or ray: the workers of a Ray cluster.")] = "local",
) -> None:
    """Train a recipe and write a model folder."""
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
        from medzoo.commands.train import train as run_training
    run = run_training(recipe, overrides or (), out=out, resume=resume, force=force, console=console)
    training_summary(run.folder, run.manifest, console=console)


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
