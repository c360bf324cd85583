"""A search goes on after it was killed, prunes, decides by validation, and ends in a plain recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medzoo.commands import tune as command
from medzoo.data.catalog import Catalog
from medzoo.errors import UserError
from medzoo.recipe import Recipe, read_recipe_text
from medzoo.report.summary import Console

optuna = pytest.importorskip("optuna")

TEXT = """
medzoo: 1
name: searched
task: classify
labels: [a, b]
data: {type: image-folder, root: nowhere, split: {group: image}}
model: {type: timm, network: test_efficientnet, size: [32, 32]}
train: {epochs: 1}
tune: {train.lr: {low: 1e-5, high: 1e-1, log: true}, train.batch: [4, 8], train.epochs: {low: 1, high: 3}}
"""


@pytest.fixture
def recipe() -> Recipe:
    return read_recipe_text(TEXT, "searched.yaml", catalog=Catalog())


def study_in(folder: Path) -> Any:
    return optuna.create_study(
        storage=f"sqlite:///{folder / 'study.db'}", study_name="s", direction="minimize", load_if_exists=True
    )


def search(study: Any, recipe: Recipe, folder: Path, **limits: Any) -> None:
    options = {"trials": None, "minutes": None, **limits}
    command._search(study, recipe, None, folder, console=Console(quiet=True), **options)  # type: ignore[arg-type]


def test_trials_are_plain_recipes_and_end_at_their_number(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Recipe] = []

    def run(trial_recipe: Recipe, data: Any, folder: Path, **options: Any) -> float:
        seen.append(trial_recipe)
        return abs(trial_recipe.train.lr - 1e-3)

    monkeypatch.setattr("medzoo.training.trial.run_trial", run)
    study = study_in(tmp_path)
    search(study, recipe, tmp_path, trials=6)
    assert len(seen) == 6
    assert all(not one.tune and one.train.batch in (4, 8) and 1 <= one.train.epochs <= 3 for one in seen)
    assert study.best_value == min(abs(one.train.lr - 1e-3) for one in seen)
    search(study_in(tmp_path), recipe, tmp_path, trials=6)  # all done
    assert len(seen) == 6


def test_a_trial_that_was_killed_is_taken_up_in_its_folder(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    calls: list[tuple[float, str]] = []

    def run(trial_recipe: Recipe, data: Any, folder: Path, **options: Any) -> float:
        calls.append((trial_recipe.train.lr, folder.name))
        if len(calls) == 2:
            raise Killed
        return 1.0

    monkeypatch.setattr("medzoo.training.trial.run_trial", run)
    with pytest.raises(Killed):
        search(study_in(tmp_path), recipe, tmp_path, trials=3)
    search(study_in(tmp_path), recipe, tmp_path, trials=3)
    assert calls[2] == calls[1]  # the same fields, in the same folder
    assert len(calls) == 4


def test_a_pruned_trial_counts_and_is_no_answer(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([2.0, None, 1.0])

    def run(*args: Any, **options: Any) -> float:
        value = next(values)
        if value is None:
            raise optuna.TrialPruned
        return value

    monkeypatch.setattr("medzoo.training.trial.run_trial", run)
    study = study_in(tmp_path)
    search(study, recipe, tmp_path, trials=3)
    assert [one.state.name for one in study.trials] == ["COMPLETE", "PRUNED", "COMPLETE"]
    assert study.best_value == 1.0


def test_a_recipe_without_a_space_says_how_to_write_one(tmp_path: Path) -> None:
    path = tmp_path / "plain.yaml"
    path.write_text(TEXT.replace(TEXT[TEXT.index("tune:") :], ""))
    with pytest.raises(UserError, match="names no field to search"):
        command.tune(path, out=tmp_path / "out")


def test_a_field_that_does_not_exist_is_named(recipe: Recipe) -> None:
    with pytest.raises(UserError, match="unknown key"):
        command._with(recipe, {"train.learning_rate": 0.1})
