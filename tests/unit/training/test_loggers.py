"""Curves that are written while a training goes on: files, pictures, services; none of them can end it."""

from __future__ import annotations

import csv
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image as Pillow
from rich.console import Console

from medzoo.errors import UserError
from medzoo.inputs.images import ImageBatches
from medzoo.training.checkpoints import list_checkpoints, newest_checkpoint, step_of
from medzoo.training.loggers import PACKAGES, check_loggers, make_loggers
from tests.unit.training.test_resume import PowerError, Stopping, run, same

LONG: dict[str, Any] = {"epochs": 10, "judged": True, "monitor": "auc"}  # 50 steps: a row every 20, and every epoch


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "logs" / "csv" / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_that_goes_on_adds_to_its_rows(tmp_path: Path) -> None:
    run(tmp_path / "whole", **LONG)
    with pytest.raises(PowerError):
        run(tmp_path / "cut", at=(7, 2), **LONG)
    before = rows(tmp_path / "cut")
    assert before
    run(tmp_path / "cut", resume=True, **LONG)
    told = [[(row["step"], row["loss"]) for row in rows(tmp_path / name) if row["loss"]] for name in ("whole", "cut")]
    assert told[0] == told[1]
    assert [row["step"] for row in rows(tmp_path / "cut")][: len(before)] == [row["step"] for row in before]
    run(tmp_path / "cut", **LONG)  # a new one begins anew
    assert [(row["step"], row["loss"]) for row in rows(tmp_path / "cut") if row["loss"]] == told[0]


def test_the_row_of_the_step_that_a_state_was_saved_at_stays(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "csv" / "metrics.csv"
    path.parent.mkdir(parents=True)
    path.write_text("epoch,loss,step,val_loss\n0,,2,0.5\n,0.7,3,\n1,,3,0.4\n,0.6,4,\n")
    make_loggers(("csv",), tmp_path, run="toy", start=3)
    assert [(row["step"], row["loss"], row["val_loss"]) for row in rows(tmp_path)] == [
        ("2", "", "0.5"),
        ("3", "0.7", ""),
    ]


def test_tensorboard_has_each_point_once(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = {**LONG, "logger": ("tensorboard",)}
    with pytest.raises(PowerError):
        run(tmp_path, at=(7, 2), **options)
    run(tmp_path, resume=True, **options)
    found = EventAccumulator(str(tmp_path / "logs" / "tensorboard"))
    found.Reload()
    steps = [event.step for event in found.Scalars("loss")]
    assert steps == sorted(set(steps))
    assert steps[-1] == 50


def test_the_curve_is_drawn_while_the_training_goes_on(tmp_path: Path) -> None:
    with pytest.raises(PowerError):
        run(tmp_path, at=(9, 4), **LONG)
    early = tmp_path / "learning-curve.png"
    assert Pillow.open(early).size[0] == 900
    first = early.read_bytes()
    run(tmp_path, resume=True, **LONG)
    assert early.read_bytes() != first
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Do something when the second batch of the seventh epoch is made."""
    made = ImageBatches.batch

    def batch(self: Any, epoch: int, step: int, *, rank: int = 0, world: int = 1) -> Any:
        if (epoch, step) == (6, 1):
            act()
        return made(self, epoch, step, rank=rank, world=world)

    monkeypatch.setattr(Stopping, "batch", batch)


def test_folders_that_vanish_change_nothing_about_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {**LONG, "logger": ("csv", "tensorboard")}
    whole, _ = run(tmp_path / "whole", **options)
    robbed = tmp_path / "robbed"
    meanwhile(monkeypatch, lambda: (shutil.rmtree(robbed / "logs"), (robbed / "learning-curve.png").unlink()))
    weights, _ = run(robbed, **options)
    assert same(whole, weights)
    assert rows(robbed)[-1]["step"] == rows(tmp_path / "whole")[-1]["step"]
    assert list((robbed / "logs" / "tensorboard").glob("events*"))
    assert (robbed / "learning-curve.png").is_file()


def test_a_whole_folder_that_vanishes_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = run(tmp_path / "whole", **{**LONG, "judged": False, "monitor": None})
    meanwhile(monkeypatch, lambda: shutil.rmtree(tmp_path / "robbed"))
    weights, _ = run(tmp_path / "robbed", **{**LONG, "judged": False, "monitor": None})
    assert same(whole, weights)
    assert list_checkpoints(tmp_path / "robbed" / "checkpoints")


def test_a_log_that_cannot_be_written_is_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole, _ = run(tmp_path / "whole", **LONG)
    logs = tmp_path / "run" / "logs"
    meanwhile(monkeypatch, lambda: (shutil.rmtree(logs), logs.write_text("a file where a folder should be")))
    other, _ = run(tmp_path / "run", **LONG)
    assert same(whole, other)
    assert len([one for one in caplog.records if "the training goes on without it" in one.message]) == 1
    with pytest.raises(UserError, match=r"train\.logger: csv cannot be opened: .*take csv out"):
        run(tmp_path / "run", **LONG)


def test_a_service_that_is_not_installed_is_one_line(tmp_path: Path) -> None:
    missing = [name for name in ("wandb", "mlflow") if not _there(name)]
    assert missing, "all services are installed here: nothing to test"
    with pytest.raises(UserError, match=rf"train\.logger: {missing[0]} needs the package .*pip install"):
        run(tmp_path, logger=(missing[0],))
    assert not list_checkpoints(tmp_path / "checkpoints")


def _there(name: Any) -> bool:
    try:
        check_loggers((name,))
    except UserError:
        return False
    return bool(PACKAGES[name])


def test_a_clock_that_jumps_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = run(tmp_path / "whole", **LONG)
    jumps = iter(range(10**6))
    monkeypatch.setattr(time, "time", lambda: 1e9 + (-1) ** next(jumps) * 1e8)
    with pytest.raises(PowerError):
        run(tmp_path / "cut", at=(5, 3), checkpoint={"every_minutes": 1e-4}, **LONG)
    state = newest_checkpoint(tmp_path / "cut" / "checkpoints", say=print)
    assert state is not None
    assert step_of(state) > 0
    resumed, report = run(tmp_path / "cut", resume=True, checkpoint={"every_minutes": 1e-4}, **LONG)
    assert same(whole, resumed)
    assert 0 < report.seconds < 600


def test_a_run_that_was_moved_goes_on_with_its_best(tmp_path: Path) -> None:
    whole, said = run(tmp_path / "whole", **LONG)
    with pytest.raises(PowerError):
        run(tmp_path / "here", at=(7, 2), **LONG)
    shutil.move(tmp_path / "here", tmp_path / "there")
    resumed, report = run(tmp_path / "there", resume=True, **LONG)
    assert same(whole, resumed)
    assert report.best == said.best


def test_words_where_there_is_no_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medzoo.training.progress import ProgressBar

    monkeypatch.setattr(ProgressBar, "LINE", 0.0)
    with (tmp_path / "said").open("w") as file:
        run(tmp_path / "run", console=Console(file=file, width=200), **LONG)
    lines = (tmp_path / "said").read_text().splitlines()
    told = next(line for line in lines if line.startswith("step 20 of 50: loss "))
    assert " samples/s, waits for " in told
    assert told.endswith(" left")


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_mixed_precision_goes_on_with_its_scaler(tmp_path: Path, precision: str) -> None:
    options = {**LONG, "precision": precision, "optimizer": "sgd"}
    whole, _ = run(tmp_path / "whole", **options)
    with pytest.raises(PowerError):
        run(tmp_path / "cut", at=(7, 2), **options)
    resumed, _ = run(tmp_path / "cut", resume=True, **options)
    assert same(whole, resumed)
    state = torch.load(list_checkpoints(tmp_path / "whole" / "checkpoints")[0], weights_only=True)
    assert ("scale" in state.get("MixedPrecision", {})) == (precision == "fp16")
