"""Live progress on stderr: steps, loss, samples a second, time left, and whether data or arithmetic waits."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class ProgressBar(pl.Callback):  # type: ignore[misc]
    """A bar over all optimiser steps; also keeps the curve [(step, loss, val_loss or None)] for the card."""

    EVERY = 20

    def __init__(self, *, steps: int, console: Console) -> None:
        self.steps = steps
        self.curve: list[tuple[int, float, float | None]] = []
        self.waited = self.worked = 0.0
        self._spent, self._since = 0.0, time.perf_counter()
        self.samples = 0
        self._mark = 0.0
        self._losses: list[Any] = []
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[words]}"),
            TimeRemainingColumn(),
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
        """What a resumed run goes on counting from."""
        return {"curve": self.curve, "waited": self.waited, "worked": self.worked, "seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting from a stopped run."""
        self.curve = [tuple(row) for row in state["curve"]]
        self.waited, self.worked, self._spent = state["waited"], state["worked"], state["seconds"]

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            self._progress.start()
        self._mark = self._since = time.perf_counter()

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, index: int) -> None:
        now = time.perf_counter()
        self.waited += now - self._mark
        self._mark = now
        self.samples += len(batch[0])

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
        if not self._losses:
            return
        step = trainer.global_step
        loss = float(sum(self._losses)) / len(self._losses)
        self._losses.clear()
        self.curve.append((step, loss, None))
        rates = trainer.lr_scheduler_configs[0].scheduler.get_last_lr()
        for logger in trainer.loggers:
            logger.log_metrics({"loss": loss, "lr": rates[0]}, step)
        rate = self.samples / max(1e-9, time.perf_counter() - self._since)
        words = f"loss {loss:.4f}  {rate:.0f} samples/s, waits for {self.bottleneck}"
        self._progress.update(self._task, completed=step, words=words)

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._mark = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._mark = time.perf_counter()
        self._report(trainer)
        value = trainer.callback_metrics.get("val_loss")
        if value is not None and not trainer.sanity_checking:
            last = self.curve[-1][1]
            self.curve.append((trainer.global_step, last, float(value)))

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._progress.stop()

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        self._progress.stop()
