"""The learning curve as a picture, drawn again and again while the training goes on."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from matplotlib.figure import Figure

from medzoo.errors import UserError
from medzoo.io.atomic import atomic_write
from medzoo.training.progress import ProgressBar

FILE = "learning-curve.png"
SHARE = 0.005  # of the training's time that drawing may take
LEAST = 5.0  # seconds between two pictures
_DRAWN = 2_000  # points of one curve, at most

Points = Sequence[tuple[float, float]]


class CurvePicture(pl.Callback):  # type: ignore[misc]
    """Draws the curves of `bar` to `path`, whole or not at all; a folder that refuses is no reason to stop."""

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
        losses = {"training": [(step, loss) for step, loss, _ in bar.curve]}
        if validation := [(step, val) for step, _, val in bar.curve if val is not None]:
            losses["validation"] = validation
        panels: list[tuple[str, dict[str, Points]]] = [("loss", dict(losses))]
        panels += [(name, {"validation": points}) for name, points in bar.figures.items()]
        panels.append(("learning rate", {"rate": bar.rates}))
        with suppress(UserError):
            picture = curves_png(panels, title=self.title, end=bar.steps)
            atomic_write(self.path, lambda file: file.write(picture))
        took = time.monotonic() - start
        self._next = start + took + max(LEAST, took / SHARE)


def curves_png(panels: Sequence[tuple[str, dict[str, Points]]], *, title: str, end: float) -> bytes:
    """A PNG of one panel a metric, curves over steps from 0 to `end`.

    Values that are not finite are left out. The axis ends at the 98th percentile, so that a first large loss hides
    nothing.
    """
    figure = Figure(figsize=(9, 3 * len(panels)), layout="constrained")
    figure.suptitle(title)
    for axes, (name, curves) in zip(np.atleast_1d(figure.subplots(len(panels), sharex=True)), panels, strict=True):
        values: list[float] = []
        for label, points in curves.items():
            finite = [(x, y) for x, y in points if math.isfinite(y)]
            shown = finite[:: max(1, len(finite) // _DRAWN)]
            axes.plot(*np.array(shown or np.empty((0, 2))).T, label=label, marker="." if len(shown) <= 60 else None)
            values += [y for _, y in finite]
        low, high = np.quantile(values, [0, 0.98]) if values else (0.0, 1.0)
        margin = 0.05 * (high - low) or max(abs(low) * 0.1, 1e-9)
        axes.set(xlim=(0, max(1.0, end)), ylim=(low - margin, high + margin), ylabel=name)
        axes.grid(alpha=0.3)
        axes.legend(loc="upper right")
    axes.set_xlabel("step")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()
