"""`medzoo tune`: search a recipe's fields by its validation part; the test part is looked at once, at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from medzoo import registry
from medzoo.artifact.locate import find_recipe
from medzoo.commands.train import Run, check_writable, train
from medzoo.data.audit.training import checked_audit, without_unreadable
from medzoo.data.catalog import Catalog, has_torch
from medzoo.data.opened import OpenData, open_data
from medzoo.errors import UserError, missing_extra
from medzoo.io.atomic import atomic_write
from medzoo.recipe import Recipe, load_recipe, read_recipe_text
from medzoo.recipe.scalars import to_yaml
from medzoo.report.summary import Console

STUDY, BEST = "study.db", "best.yaml"
TRIALS = 20


@dataclass(frozen=True)
class Tuned:
    """A finished search: its folder, trials that were finished, the best figure and fields, and the trained model."""

    folder: Path
    trials: int
    figure: str
    best: float
    fields: Mapping[str, Any]
    run: Run | None


def tune(
    recipe: str | Path,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    trials: int | None = None,
    minutes: float | None = None,
    out: str | Path | None = None,
    final: bool = True,
    console: Console | None = None,
) -> Tuned:
    """Search the fields that the recipe's `tune` names until there are `trials`, or `minutes` are over.

    Optuna's TPE sampler proposes; a trial whose validation figure is below the median of the others at the same step is
    pruned. The study lies in OUT/study.db (SQLite): called again, also after SIGKILL, it goes on, and a trial that was
    broken off is taken up first, from its last checkpoint. The best fields become OUT/best.yaml, a plain recipe, which
    is then trained once more (`final`) and scored on the test part. Raises UserError.
    """
    if not has_torch():
        raise missing_extra("torch", "train")
    try:
        import optuna
    except ImportError:
        raise missing_extra("optuna", "tune") from None
    console = console or Console(stderr=True)
    loaded = load_recipe(find_recipe(recipe), overrides, catalog=Catalog())
    if not loaded.tune:
        hint = "tune: {train.lr: {low: 1e-4, high: 1e-2, log: true}, train.batch: [4, 8]}"
        raise UserError("names no field to search", f"{loaded.source}: tune", hint)
    if registry.entry("model", loaded.model.type).learns != "gradient":
        raise UserError(
            f"{loaded.model.type} is fitted in closed form, and has no validation", f"{loaded.source}: tune"
        )
    folder = Path(out) if out is not None else Path("runs") / f"{loaded.name}-tune"
    check_writable(folder)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    data = open_data(loaded)
    data = without_unreadable(
        loaded, data, checked_audit(loaded, data), say=lambda text: console.print(text, markup=False)
    )
    if not data.part("val"):
        raise UserError("a search needs a validation part", f"{loaded.source}: data.split.val", "give it a share")
    figure = loaded.train.monitor or "loss"
    study = optuna.create_study(
        storage=f"sqlite:///{(folder / STUDY).resolve()}",
        study_name=loaded.digest,
        direction="minimize" if _falls(figure) else "maximize",
        sampler=optuna.samplers.TPESampler(seed=loaded.train.seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
        load_if_exists=True,
    )
    _search(study, loaded, data, folder, trials=trials, minutes=minutes, console=console)
    done = [one for one in study.trials if one.state.name == "COMPLETE"]
    if not done:
        raise UserError("no trial was finished", str(folder), "give more minutes")
    best = _with(loaded, study.best_params)
    text = best.resolved()
    atomic_write(folder / BEST, lambda file: file.write(text.encode()))
    words = ", ".join(f"{name}={value}" for name, value in study.best_params.items())
    console.print(f"best of {len(done)} trials: {figure} {study.best_value:.4g} with {words}", markup=False)
    run = train(folder / BEST, out=folder / "model", console=console) if final else None
    return Tuned(folder, len(done), figure, float(study.best_value), dict(study.best_params), run)


def _search(
    study: Any,
    recipe: Recipe,
    data: OpenData,
    folder: Path,
    *,
    trials: int | None,
    minutes: float | None,
    console: Console,
) -> None:
    import optuna

    from medzoo.training.trial import run_trial

    started = time.monotonic()
    # A trial that was running when the process was killed: its fields again, and its folder, which holds its state.
    for one in study.get_trials(deepcopy=False):
        if one.state.name == "RUNNING":
            console.print(f"trial {one.number} was broken off, and is taken up")
            study.enqueue_trial(one.params, user_attrs={"folder": one.user_attrs.get("folder", f"trial-{one.number}")})
            study.tell(one.number, state=optuna.trial.TrialState.FAIL)
    wanted = trials if trials is not None or minutes is not None else TRIALS
    while True:
        counted = [one for one in study.get_trials(deepcopy=False) if one.state.name in ("COMPLETE", "PRUNED")]
        over = minutes is not None and time.monotonic() - started > 60 * minutes
        if over or (wanted is not None and len(counted) >= wanted):
            return
        trial = study.ask()
        place = trial.user_attrs.get("folder") or f"trial-{trial.number}"
        trial.set_user_attr("folder", place)
        fields = {name: _suggested(trial, name, space) for name, space in recipe.tune.items()}
        words = ", ".join(f"{name}={value}" for name, value in fields.items())
        console.print(f"trial {trial.number}: {words}", markup=False)
        try:
            value = run_trial(_with(recipe, fields), data, folder / place, trial=trial, console=console)
        except optuna.TrialPruned:
            console.print(f"trial {trial.number} was pruned")
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            continue
        console.print(f"trial {trial.number}: {value:.4g}")
        study.tell(trial, value)


def _suggested(trial: Any, name: str, space: Any) -> Any:
    """A value of a field: one of a list, or a number between two bounds."""
    if isinstance(space, list | tuple):
        return trial.suggest_categorical(name, list(space))
    if isinstance(space.low, int) and isinstance(space.high, int):
        return trial.suggest_int(name, space.low, space.high, log=space.log)
    return trial.suggest_float(name, float(space.low), float(space.high), log=space.log)


def _with(recipe: Recipe, fields: Mapping[str, Any]) -> Recipe:
    """The recipe with these fields, and nothing left to search. Raises UserError for a value that a field refuses."""
    tree = yaml.safe_load(recipe.resolved())
    tree.pop("tune", None)
    return read_recipe_text(to_yaml(tree), recipe.source, dict(fields), catalog=Catalog())


def _falls(figure: str) -> bool:
    from medzoo.training.fit import FALLING

    return figure in FALLING
