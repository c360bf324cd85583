"""A run that was stopped anywhere and goes on ends with the bits of the run that was never stopped."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from medzoo.augment.ops.flip import Flip
from medzoo.augment.ops.intensity import Intensity
from medzoo.errors import UserError
from medzoo.inputs.batches import Batch
from medzoo.inputs.images import ImageBatches, OrderedImages
from medzoo.inputs.pictures import Pictures
from medzoo.io import atomic
from medzoo.models.lenet import LeNet, LeNetParams
from medzoo.nn.net import Spec
from medzoo.recipe import TrainSection
from medzoo.recipe.train import CheckpointSection
from medzoo.training.checkpoints import Checkpoints, Preempted, list_checkpoints, newest_checkpoint, read_checked
from medzoo.training.fit import FitReport, fit_gradient
from medzoo.training.processes import INTERRUPTED, REQUEUE
from tests.unit.training.pictures_toys import LABELS, Toys

HARD: dict[str, Any] = {"judged": True, "ema": 0.9, "accumulate": 2, "mixup": 0.3, "warmup": 2, "monitor": "auc"}


class PowerError(Exception):
    """Stands for whatever ends a process."""


class Stopping(ImageBatches):
    """Ends the run when it makes a certain batch, or tells the process to end."""

    at: tuple[int, int] | None = None
    kill: int | None = None

    def batch(self, epoch: int, step: int, *, rank: int = 0, world: int = 1) -> Batch:
        if (epoch, step) == self.at:
            if self.kill is None:
                raise PowerError
            os.kill(os.getpid(), self.kill)
        return super().batch(epoch, step, rank=rank, world=world)


def run(
    folder: Path,
    *,
    at: tuple[int, int] | None = None,
    resume: bool = False,
    kill: int | None = None,
    console: Console | None = None,
    judged: bool = False,
    **train: Any,
) -> tuple[dict[str, torch.Tensor], FitReport]:
    settings = TrainSection(**{"epochs": 4, "batch": 4, "lr": 3e-3, "checkpoint": {"every_steps": 1}, **train})
    data = Toys(26)
    torch.manual_seed(0)
    net = LeNet(LeNetParams(variant="full", dropout=0.3), Spec("classify", LABELS))
    items = data.items()
    parts = [Pictures(data, part, (), labels=LABELS, channels=1, size=net.canvas) for part in (items[:-6], items[-6:])]
    feed = Stopping(parts[0], batch=4, seed=0, mixup=settings.mixup, augmentations=(Flip(), Intensity()))
    feed.at, feed.kill = at, kill
    report = fit_gradient(
        net,
        settings,
        feed,
        OrderedImages(parts[1], batch=4) if judged else None,
        folder=folder,
        console=console or Console(quiet=True),
        resume=resume,
    )
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}, report


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, two[name]) for name, tensor in one.items())


@pytest.mark.parametrize("train", [{}, HARD, {"precision": "fp16"}], ids=["plain", "everything", "fp16"])
@pytest.mark.parametrize("at", [(0, 3), (1, 0), (2, 2), (3, 4)])
def test_a_stopped_run_that_goes_on_ends_bit_identical(
    tmp_path: Path, at: tuple[int, int], train: dict[str, Any]
) -> None:
    whole, said = run(tmp_path / "whole", **train)
    with pytest.raises(PowerError):
        run(tmp_path / "cut", at=at, **train)
    resumed, report = run(tmp_path / "cut", resume=True, **train)
    assert same(whole, resumed)
    # Not only what was kept as best, but where the run ended: weights, moving average, optimiser, schedule.
    ends = [list_checkpoints(tmp_path / name / "checkpoints")[0] for name in ("whole", "cut")]
    assert ends[0].name.split("-")[1] == ends[1].name.split("-")[1]
    one, two = (torch.load(end, weights_only=True) for end in ends)
    for key in ("state_dict", "current_model_state"):
        assert same(one.get(key, {}), two.get(key, {}))
    assert str(one["optimizer_states"]) == str(two["optimizer_states"])
    assert one["lr_schedulers"] == two["lr_schedulers"]
    assert report.steps == said.steps
    assert report.best == said.best
    # The card tells of the whole run, not of its last process alone.
    assert [row[0] for row in report.curve] == [row[0] for row in said.curve]


def test_it_was_the_state_that_was_read_and_not_a_new_start(tmp_path: Path) -> None:
    whole, _ = run(tmp_path / "whole")
    with pytest.raises(PowerError):
        run(tmp_path / "cut", at=(3, 4))
    other, _ = run(tmp_path / "cut", resume=True, label_smoothing=0.3)  # of what is left alone
    fresh, _ = run(tmp_path / "fresh", label_smoothing=0.3)
    assert not same(whole, other)
    assert not same(fresh, other)


def test_sigterm_saves_and_ends_with_a_code_for_requeueing(tmp_path: Path) -> None:
    whole, _ = run(tmp_path / "whole")
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Preempted) as ended:
        run(tmp_path / "cut", at=(1, 3), kill=signal.SIGTERM, checkpoint={"every_steps": 1000})
    assert ended.value.code == REQUEUE
    assert signal.getsignal(signal.SIGTERM) is before
    assert [int(path.name.split("-")[1]) for path in list_checkpoints(tmp_path / "cut" / "checkpoints")] in ([7], [8])
    resumed, _ = run(tmp_path / "cut", resume=True, checkpoint={"every_steps": 1000})
    assert same(whole, resumed)


@pytest.mark.parametrize("at", [(0, 2), (1, 3), (2, 1)])
def test_ctrl_c_saves_and_ends_with_130(at: tuple[int, int], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole, _ = run(tmp_path / "whole")
    before = signal.getsignal(signal.SIGINT)
    said = Console(record=True, quiet=False)
    with pytest.raises(Preempted) as ended:
        run(tmp_path / "cut", at=at, kill=signal.SIGINT, checkpoint={"every_steps": 1000}, console=said)
    assert ended.value.code == INTERRUPTED == 130
    assert "Ctrl-C: the state is saved; go on with --resume" in said.export_text()
    assert "once more ends at once" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before
    resumed, _ = run(tmp_path / "cut", resume=True, checkpoint={"every_steps": 1000})
    assert same(whole, resumed)


def test_a_second_ctrl_c_ends_at_once_and_keeps_the_state_before(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        try:
            twice = Checkpoints(tmp_path, CheckpointSection(), steps_per_epoch=1)
            twice._terminate(signal.SIGINT, None)
            twice._terminate(signal.SIGINT, None)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == INTERRUPTED


@pytest.mark.parametrize("place", [0, 0.3, 0.7, -1])
def test_a_flipped_byte_in_the_best_weights_is_refused_by_name(place: float, tmp_path: Path) -> None:
    with pytest.raises(PowerError):
        run(tmp_path / "cut", at=(3, 1), judged=True)
    best = tmp_path / "cut" / "checkpoints" / "best.ckpt"
    raw = bytearray(best.read_bytes())
    raw[int(place * len(raw)) if place >= 0 else -1] ^= 1
    read_checked(best)
    best.write_bytes(bytes(raw))
    with pytest.raises(UserError, match=r"best\.ckpt: is damaged: it differs from the digest in best\.ckpt\.sha256"):
        read_checked(best)
    (best.with_name("best.ckpt.sha256")).unlink()
    with pytest.raises(UserError, match=r"best\.ckpt: is damaged"):
        read_checked(best)


def test_a_damaged_state_falls_back_to_the_one_before_it_and_says_so(tmp_path: Path) -> None:
    whole, _ = run(tmp_path / "whole")
    with pytest.raises(PowerError):
        run(tmp_path / "cut", at=(2, 2), checkpoint={"every_steps": 2, "keep": 3})
    states = list_checkpoints(tmp_path / "cut" / "checkpoints")
    assert len(states) == 3
    raw = bytearray(states[0].read_bytes())
    raw[len(raw) // 2] ^= 1
    states[0].write_bytes(raw)
    states[1].write_bytes(b"")
    words = Console(record=True, width=200, quiet=False, file=(tmp_path / "said").open("w"))
    resumed, _ = run(tmp_path / "cut", resume=True, console=words)
    text = words.export_text()
    assert f"{states[0].name} is damaged" in text
    assert f"{states[1].name} is damaged" in text
    assert same(whole, resumed)
    for path in list_checkpoints(tmp_path / "cut" / "checkpoints"):
        path.write_bytes(b"x")
    with pytest.raises(UserError, match="every checkpoint is damaged"):
        newest_checkpoint(tmp_path / "cut" / "checkpoints", say=print)


def test_a_full_disk_stops_with_the_last_state_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = run(tmp_path / "whole")
    flushed = os.fsync
    calls = []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        flushed(handle)

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(UserError, match=r"No space left on device .*the checkpoint before it is kept"):
        run(tmp_path / "cut")
    monkeypatch.undo()
    assert not [path.name for path in (tmp_path / "cut" / "checkpoints").iterdir() if path.name.startswith(".")]
    resumed, _ = run(tmp_path / "cut", resume=True)
    assert same(whole, resumed)


def test_a_lost_folder_stops_with_the_last_state_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the folder's place refuses even those whom no permission stops."""
    whole, _ = run(tmp_path / "whole")
    states, aside = tmp_path / "cut" / "checkpoints", tmp_path / "aside"
    made = Stopping.batch

    def losing(self: Stopping, epoch: int, step: int, *, rank: int = 0, world: int = 1) -> Batch:
        if (epoch, step) == (1, 2):
            states.rename(aside)
            states.write_bytes(b"")
        return made(self, epoch, step, rank=rank, world=world)

    monkeypatch.setattr(Stopping, "batch", losing)
    with pytest.raises(
        UserError, match=r"checkpoints.* cannot be written: .*the checkpoint before it is kept"
    ) as caught:
        run(tmp_path / "cut")
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    states.unlink()
    aside.rename(states)
    assert newest_checkpoint(states, say=print) == list_checkpoints(states)[0]
    resumed, _ = run(tmp_path / "cut", resume=True)
    assert same(whole, resumed)


def test_a_new_run_forgets_the_states_of_the_old_one(tmp_path: Path) -> None:
    with pytest.raises(PowerError):
        run(tmp_path, at=(2, 2))
    old = {path.name for path in list_checkpoints(tmp_path / "checkpoints")}
    with pytest.raises(PowerError):
        run(tmp_path, at=(0, 2), lr=1e-4)
    assert not old & {path.name for path in list_checkpoints(tmp_path / "checkpoints")}


def test_sigterm_in_the_last_validation_ends_the_run_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, said = run(tmp_path / "whole", judged=True)
    made = OrderedImages.batch
    asked = []

    def told(self: OrderedImages, epoch: int, step: int, *, rank: int = 0, world: int = 1) -> Batch:
        asked.append(step)
        if len(asked) == 2 * 4:  # two batches, after each of four epochs
            os.kill(os.getpid(), signal.SIGTERM)
        return made(self, epoch, step, rank=rank, world=world)

    monkeypatch.setattr(OrderedImages, "batch", told)
    with pytest.raises(Preempted):
        run(tmp_path / "cut", judged=True)
    monkeypatch.undo()
    resumed, report = run(tmp_path / "cut", judged=True, resume=True)
    assert same(whole, resumed)
    assert (report.steps, report.best) == (said.steps, said.best)
