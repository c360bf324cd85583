"""The state of a training on disk: whole or not at all, the newest few, and the newest whole one read back.

A state is saved before a batch begins, when the loops, the optimiser, the schedules and the moving average agree.
Batches and the generator of dropout are functions of (seed, epoch, batch), so the state holds no generator. A file's
name ends in the beginning of its SHA-256: a damaged one is known by its name.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import pickle
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from medzoo.errors import UserError
from medzoo.io.atomic import atomic_write
from medzoo.io.durable import sync_folder
from medzoo.recipe.train import CheckpointSection
from medzoo.training.processes import INTERRUPTED, REQUEUE, ending_signals

log = logging.getLogger("medzoo.training")
_NAME = re.compile(r"step-(\d+)-([0-9a-f]{16})\.ckpt")


class Preempted(SystemExit):
    """SIGTERM or Ctrl-C came, the state is saved; the process ends with `REQUEUE`, or 130 after Ctrl-C."""

    def __init__(self, path: Path, *, by: signal.Signals = signal.SIGTERM) -> None:
        super().__init__(INTERRUPTED if by == signal.SIGINT else REQUEUE)
        self.path, self.by = path, by


class AtomicCheckpoints(TorchCheckpointIO):  # type: ignore[misc]
    """Writes beside the place, flushes to the disk, renames; with a digest in the name of rotating states, and in
    NAME.sha256 beside any other."""

    def save_checkpoint(self, checkpoint: Mapping[str, Any], path: Any, storage_options: Any = None) -> None:
        """See CheckpointIO. `{digest}` in the name becomes the beginning of the bytes' SHA-256."""
        buffer = io.BytesIO()
        torch.save(dict(checkpoint), buffer)
        raw = buffer.getvalue()
        digest = hashlib.sha256(raw).hexdigest()
        target = Path(str(path).replace("{digest}", digest[:16]))
        try:
            if target == Path(path):
                # Named beside it before it is there; a kill in between leaves both digests, and either file is whole.
                known = _digests(target)[-1:]
                lines = "".join(f"{one}  {target.name}\n" for one in (*known, digest))
                atomic_write(_digest_file(target), lambda handle: handle.write(lines.encode()))
            atomic_write(target, lambda handle: handle.write(raw))
            sync_folder(target.parent)
        except UserError as error:
            fault = error.faults[0]
            hint = "the checkpoint before it is kept; free disk space, then continue with --resume"
            raise UserError(fault.message, fault.where, hint) from error


def _digest_file(path: Path) -> Path:
    """The file that holds the digests of a checkpoint whose name has none."""
    return path.with_name(f"{path.name}.sha256")


def _digests(path: Path) -> list[str]:
    """The digests that a checkpoint may have, the newest last; none where none were written."""
    try:
        return [line.split()[0] for line in _digest_file(path).read_text(encoding="ascii").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        return []


def read_checked(path: Path) -> bytes:
    """The bytes of a checkpoint whose name has no digest. Raises UserError unless they are the bytes written."""
    again = "train again, or --resume from a state before it"
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"the best weights are gone: {error.strerror}", str(path), again) from error
    if hashlib.sha256(raw).hexdigest() not in _digests(path):
        raise UserError(f"is damaged: it differs from the digest in {_digest_file(path).name}", str(path), again)
    return raw


class Checkpoints(pl.Callback):  # type: ignore[misc]
    """Saves every so many steps or minutes, at the end of every epoch where neither is asked, and on SIGTERM."""

    def __init__(self, folder: Path, settings: CheckpointSection, *, steps_per_epoch: int) -> None:
        self.folder, self.settings = folder, settings
        # Neither asked: after every epoch.
        by_epoch = settings.every_steps is None and settings.every_minutes is None
        self.every = steps_per_epoch if by_epoch else settings.every_steps
        self.seconds = 0.0  # spent on saving
        self._saved_step = -1
        self._saved_at = time.monotonic()
        self._terminated = self._requeue = False
        self._interrupted = False
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._saved_step = trainer.global_step
        self._saved_at = time.monotonic()
        if threading.current_thread() is threading.main_thread():
            self._before = {
                number: signal.signal(number, self._terminate) for number in (*ending_signals(), signal.SIGINT)
            }

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, index: int) -> None:
        step = trainer.global_step
        if index % trainer.accumulate_grad_batches:  # gradients are no part of the state
            return
        stop = self._terminated
        if trainer.world_size > 1:
            stop = trainer.strategy.reduce_boolean_decision(stop, all=False)
        due = self.every is not None and step % self.every == 0
        if self.settings.every_minutes is not None:
            late = time.monotonic() - self._saved_at >= 60 * self.settings.every_minutes
            if trainer.world_size > 1:
                late = trainer.strategy.reduce_boolean_decision(late, all=False)
            due = due or late
        if step > self._saved_step and (due or stop):
            self.save(trainer)
        if stop:
            self._stop(trainer)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._restore_handler()
        stop = self._terminated
        if trainer.world_size > 1:
            stop = trainer.strategy.reduce_boolean_decision(stop, all=False)
        if stop:  # in the last validation: what follows takes time too, and the newest state leads here again
            self._stop(trainer)

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        self._restore_handler()

    def save(self, trainer: pl.Trainer) -> None:
        """Save the state now, and drop all but the newest `keep`."""
        start = time.monotonic()
        step = trainer.global_step
        trainer.save_checkpoint(self.folder / f"step-{step:09}-{{digest}}.ckpt")
        if trainer.is_global_zero:
            for path in list_checkpoints(self.folder)[self.settings.keep :]:
                path.unlink(missing_ok=True)
        self._saved_step, self._saved_at = step, time.monotonic()
        self.seconds += self._saved_at - start

    def _stop(self, trainer: pl.Trainer) -> None:
        if self._requeue and trainer.is_global_zero:
            requeue()
        raise Preempted(self.folder, by=signal.SIGINT if self._interrupted else signal.SIGTERM)

    def _terminate(self, number: int, frame: Any) -> None:
        if number == signal.SIGINT:
            if self._interrupted:
                os._exit(INTERRUPTED)  # the second Ctrl-C: at once, the state before this one is kept
            self._interrupted = True
            os.write(2, b"\nCtrl-C: the state is saved after this step; once more ends at once\n")
        self._terminated = True
        self._requeue = self._requeue or number not in (signal.SIGTERM, signal.SIGINT)

    def _restore_handler(self) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before = {}


class BestWeights(ModelCheckpoint):  # type: ignore[misc]
    """The weights of the best validation so far, as best.ckpt; found again where the run's folder was moved."""

    def __init__(self, folder: Path, **judged: str) -> None:
        super().__init__(folder, filename="best", save_weights_only=True, enable_version_counter=False, **judged)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See ModelCheckpoint, which forgets the best score when the folder is another."""
        super().load_state_dict(_with_paths_moved(state, str(state.get("dirpath", "")), str(self.dirpath)))

    def weights(self) -> tuple[dict[str, Any], float | None]:
        """The best weights and their score; ({}, None) before there are any. Raises UserError if they are gone."""
        path = self.best_model_path
        if not path:
            return {}, None
        raw = read_checked(Path(path))
        try:
            state = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)["state_dict"]
        except (RuntimeError, KeyError, pickle.UnpicklingError) as error:
            raise UserError("the best weights cannot be read", str(path), "train again") from error
        return state, float(self.best_model_score) if self.best_model_score is not None else None


def _with_paths_moved(value: Any, old: str, new: str) -> Any:
    """Paths below `old` as paths below `new`, in a state of nested dictionaries."""
    if isinstance(value, dict):
        return {_with_paths_moved(key, old, new): _with_paths_moved(one, old, new) for key, one in value.items()}
    if isinstance(value, str) and old and value.startswith(old):
        return new + value.removeprefix(old)
    return value


def requeue() -> None:
    """Ask SLURM for the same job again; the job then finds its states by itself (medzoo.training.processes)."""
    job = os.environ["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60)
        message = done.stderr.strip() if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        message = str(error)
    if message:
        log.warning("the checkpoint is saved, but SLURM did not requeue job %s: %s", job, message)


def list_checkpoints(folder: Path) -> list[Path]:
    """The rotating states of a folder, newest first."""
    found = [path for path in folder.glob("step-*.ckpt") if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: path.name, reverse=True)


def step_of(path: Path) -> int:
    """The optimiser step at which a rotating state was saved."""
    return int(path.name.split("-")[1])


def newest_checkpoint(folder: Path, *, say: Callable[[str], None]) -> Path | None:
    """The newest state that is whole; each damaged one is told of and passed over. None where there is none.

    Raises UserError if states are there but all of them are damaged.
    """
    paths = list_checkpoints(folder)
    for path in folder.glob(".*.ckpt"):  # what a kill left half written
        path.unlink(missing_ok=True)
    for path in paths:
        match = _NAME.fullmatch(path.name)
        if match and hashlib.sha256(path.read_bytes()).hexdigest()[:16] == match[2]:
            return path
        say(f"{path.name} is damaged, the state before it is taken")
    if paths:
        raise UserError("every checkpoint is damaged", where=str(folder), hint="train again without --resume")
    return None


def remove_checkpoints(folder: Path) -> None:
    """Remove the states of an earlier run, for one that starts anew."""
    best = folder / "best.ckpt"
    for path in [*list_checkpoints(folder), best, _digest_file(best), *folder.glob(".*.ckpt")]:
        path.unlink(missing_ok=True)
