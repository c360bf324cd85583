"""Live progress on stderr: steps, loss, samples a second, time left, and whether data or arithmetic waits."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from medzoo.report.summary import Console

_Row = tuple[int, float, "float | None"]


class ProgressBar(pl.Callback):  # type: ignore[misc]
    """A bar over all optimiser steps; a line now and then where stderr is no terminal. Keeps what the card and the
    picture show: the curve [(step, loss, val_loss or None)], figures of validation by name, and learning rates.

    All times are taken from a clock that nobody can set.
    """

    EVERY = 20  # steps between two reports
    LINE = 30.0  # seconds between two lines in a file

    def __init__(self, *, steps: int, console: Console) -> None:
        self.steps, self.console = steps, console
        self.curve: list[_Row] = []
        self.figures: dict[str, list[tuple[int, float]]] = {}
        self.rates: list[tuple[int, float]] = []
        self.waited = self.worked = 0.0
        self._spent, self._since = 0.0, time.perf_counter()
        self.samples = 0
        self._first = self._reported = 0  # the step that this process began with, the one last told of
        self._idle = 0.0  # seconds of this process that were spent on validation
        self._mark = 0.0
        self._line = 0.0
        self._losses: list[Any] = []
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[words]}"),
            console=console,
        )
        self._task = self._progress.add_task("training", total=steps, words="")

    @property
    def bottleneck(self) -> str:
        """ "data" if waiting for batches took longer than computing on them, else "compute"."""
        return "data" if self.waited > self.worked else "compute"

    @property
    def seconds(self) -> float:
        """Time spent training, in every process that went on with this run."""
        return self._spent + time.perf_counter() - self._since

    def state_dict(self) -> dict[str, Any]:
        """The state that a resumed run continues from."""
        return {
            "curve": self.curve,
            "figures": self.figures,
            "rates": self.rates,
            "losses": [float(loss) for loss in self._losses],
            "waited": self.waited,
            "worked": self.worked,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting from a stopped run."""
        self.curve = [tuple(row) for row in state["curve"]]
        self.figures = {name: [tuple(row) for row in rows] for name, rows in state.get("figures", {}).items()}
        self.rates = [tuple(row) for row in state.get("rates", [])]
        self._losses = [torch.tensor(loss) for loss in state.get("losses", [])]
        self.waited, self.worked, self._spent = state["waited"], state["worked"], state["seconds"]

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.is_global_zero and self.console.is_terminal:
            self._progress.start()
        self._mark = self._since = self._line = time.perf_counter()
        self._first = self._reported = trainer.global_step

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, index: int) -> None:
        now = time.perf_counter()
        self.waited += now - self._mark
        self._mark = now
        self.samples += len(batch[0]) * trainer.world_size

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        now = time.perf_counter()
        self.worked += now - self._mark
        self._mark = now
        self._losses.append(outputs["loss"].detach())
        step = trainer.global_step
        if step % self.EVERY == 0 or step == self.steps:
            self._report(trainer)

    def _report(self, trainer: pl.Trainer) -> None:
        """Tell of the steps since the last report: one read of the device for many of them."""
        step = trainer.global_step
        if not self._losses or step == self._reported:
            return
        self._reported = step
        # Losses are those of the process's share, divided by the batches that make one step.
        loss = float(sum(self._losses)) / len(self._losses) * trainer.accumulate_grad_batches
        self._losses.clear()
        self.curve.append((step, loss, None))
        rates = trainer.lr_scheduler_configs[0].scheduler.get_last_lr()
        self.rates.append((step, float(rates[0])))
        for logger in trainer.loggers:
            logger.log_metrics({"loss": loss, "lr": rates[0]}, step)
        words = self.words(step, loss)
        self._progress.update(self._task, completed=step, words=words)
        now = time.perf_counter()
        if trainer.is_global_zero and not self.console.is_terminal and now - self._line >= self.LINE:
            self._line = now
            self.console.print(f"step {step} of {self.steps}: {words}")

    def words(self, step: int, loss: float) -> str:
        """Loss, speed, what is waited for, and the time left at the pace of this process, validation included."""
        spent = max(1e-9, time.perf_counter() - self._since)
        rate = self.samples / max(1e-9, spent - self._idle)
        left = "" if step <= self._first else f", {_clock((self.steps - step) * spent / (step - self._first))} left"
        return f"loss {loss:.4f}, {rate:.3g} samples/s, waits for {self.bottleneck}{left}"

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._mark = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        now = time.perf_counter()
        self._idle += now - self._mark
        self._mark = now
        self._report(trainer)
        value = trainer.callback_metrics.get("val_loss")
        if value is not None and not trainer.sanity_checking:
            last = self.curve[-1][1]
            self.curve.append((trainer.global_step, last, float(value)))
            for name, found in trainer.callback_metrics.items():
                if name.startswith("val_") and name != "val_loss":
                    rows = self.figures.setdefault(name.removeprefix("val_"), [])
                    rows.append((trainer.global_step, float(found)))

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._progress.stop()

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        self._progress.stop()


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
