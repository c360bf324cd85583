"""The learning curve as a picture, drawn again and again while the training goes on."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from medzoo.errors import UserError
from medzoo.plots.canvas import save_png
from medzoo.plots.curve import Series, draw_curves
from medzoo.training.progress import ProgressBar

FILE = "learning-curve.png"
SHARE = 0.005  # of the training's time that drawing may take
LEAST = 5.0  # seconds between two pictures


class CurvePicture(pl.Callback):  # type: ignore[misc]
    """Draws what `bar` has seen to `path`, whole or not at all; a folder that refuses is no reason to stop."""

    def __init__(self, path: Path, bar: ProgressBar, *, title: str) -> None:
        self.path, self.bar, self.title = path, bar, title
        self._next = 0.0

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        if trainer.is_global_zero and len(self.bar.curve) > 1 and time.monotonic() >= self._next:
            self._draw()

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.is_global_zero and self.bar.curve:
            self._draw()

    def _draw(self) -> None:
        start = time.monotonic()
        bar = self.bar
        trained = Series("training", [(step, loss) for step, loss, _ in bar.curve])
        judged = Series("validation", [(step, val) for step, _, val in bar.curve if val is not None])
        panels = [("loss", [trained, *([judged] if judged.points else [])])]
        panels += [(name, [Series("validation", points)]) for name, points in bar.figures.items()]
        panels.append(("learning rate", [Series("rate", bar.rates)]))
        with suppress(UserError):
            save_png(self.path, draw_curves(panels, title=self.title, end=bar.steps))
        took = time.monotonic() - start
        self._next = start + took + max(LEAST, took / SHARE)
