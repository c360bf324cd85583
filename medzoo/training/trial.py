"""One trial of a search: a net fitted on the training part, and its figure on the validation part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from medzoo.data.opened import OpenData
from medzoo.errors import UserError
from medzoo.nn.weights import build_net
from medzoo.recipe import Recipe
from medzoo.report.summary import Console
from medzoo.training.fit import fit_gradient


class _Pruning(pl.Callback):  # type: ignore[misc]
    """Report each validation to the search, and end the trial where it says so."""

    def __init__(self, trial: Any, figure: str) -> None:
        self.trial, self.figure, self.count = trial, figure, 0

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        value = trainer.callback_metrics.get(f"val_{self.figure}")
        if value is None or trainer.sanity_checking:
            return
        self.trial.report(float(value), self.count)
        self.count += 1
        if self.trial.should_prune():
            import optuna

            raise optuna.TrialPruned


def run_trial(recipe: Recipe, data: OpenData, folder: Path, *, trial: Any, console: Console) -> float:
    """The best validation figure of a training, which goes on where `folder` holds its state. Raises UserError."""
    net = build_net(recipe)
    loaders = net.training_input.open(net.geometry, recipe, data)
    report = fit_gradient(
        net,
        recipe.train,
        loaders.train,
        loaders.val,
        folder=folder,
        console=console,
        resume=folder.is_dir(),
        name=recipe.name,
        callbacks=(_Pruning(trial, recipe.train.monitor or "loss"),),
    )
    if report.best is None:
        raise UserError("the validation figure was never defined", f"{recipe.source}: train.monitor", "choose another")
    return float(report.best)
