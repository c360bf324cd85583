"""Lightning's loggers by name, made so that none of them can end a training."""

from __future__ import annotations

import csv
import importlib.util
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import loggers as lightning

from medzoo.errors import UserError
from medzoo.recipe.train import LoggerName

log = logging.getLogger("medzoo.training")
PACKAGES: dict[LoggerName, tuple[str, ...]] = {  # any of them will do; the first is named
    "csv": (),
    "tensorboard": ("tensorboard", "tensorboardX"),
    "mlflow": ("mlflow", "mlflow_skinny"),
    "wandb": ("wandb",),
}


def check_loggers(names: Sequence[LoggerName]) -> None:
    """Raises UserError for a logger whose package is not installed; imports nothing."""
    for name in names:
        packages = PACKAGES[name]
        if packages and not any(importlib.util.find_spec(package) for package in packages):
            raise UserError(
                f"{name} needs the package {packages[0]!r}, which is not installed",
                where="train.logger",
                hint=f"pip install {packages[0].replace('_', '-')}, or take {name} out",
            )


def make_loggers(names: Sequence[LoggerName], folder: Path, *, run: str, start: int) -> list[Any]:
    """Lightning loggers that write below `folder`/logs, or to their service under the name `run`.

    `start`: the step from which a resumed run goes on: what was logged before it stays, what was logged after it is
    logged again. 0 begins anew. A logger that fails later says so once, and the training goes on. Raises UserError
    where one cannot be opened.
    """
    check_loggers(names)
    found = []
    for name in names:
        place = folder / "logs" / name
        if not start:
            shutil.rmtree(place, ignore_errors=True)
        try:
            logger = _MAKERS[name](folder, run, start)
            _ = logger.experiment  # opened now: what cannot be had at all is refused before hours of training
            found.append(logger)
        except Exception as error:  # each of these packages raises kinds of its own
            lines = str(error).strip().splitlines()
            raise UserError(
                f"{name} cannot be opened: {lines[0] if lines else type(error).__name__}",
                where="train.logger",
                hint=f"see its own settings, or take {name} out",
            ) from error
    return found


class _FaultTolerant:
    """Mixed into a logger: whatever fails in it is told once, and is no reason to stop."""

    warned = False

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """See Logger."""
        self._guarded(lambda: super(_FaultTolerant, self).log_metrics(metrics, step))  # type: ignore[misc]

    def save(self) -> None:
        """See Logger."""
        self._guarded(lambda: super(_FaultTolerant, self).save())  # type: ignore[misc]

    def finalize(self, status: str) -> None:
        """See Logger."""
        self._guarded(lambda: super(_FaultTolerant, self).finalize(status))  # type: ignore[misc]

    def _guarded(self, call: Callable[[], Any]) -> None:
        try:
            self._mend()
            call()
        except Exception as error:
            if not self.warned:
                log.warning("%s: %s; the training goes on without it", type(self).__name__, error)
            self.warned = True

    def _mend(self) -> None:
        """Put back what the logger needs, if somebody took it away."""


class CSV(_FaultTolerant, lightning.CSVLogger):  # type: ignore[misc]
    """logs/csv/metrics.csv. Lightning's own begins the file anew whenever a run goes on; here its rows stay."""

    def __init__(self, folder: Path, *, start: int) -> None:
        super().__init__(folder, name="logs", version="csv")
        path = Path(self.log_dir) / "metrics.csv"
        rows = []
        if start and path.is_file():
            with path.open(newline="") as file:
                rows = [{k: v for k, v in row.items() if k and v} for row in csv.DictReader(file)]
        # Lightning counts steps from 0 in its own rows, those of the progress bar (loss) count from 1.
        kept = [
            row for row in rows if str(row.get("step", "")).isdigit() and int(row["step"]) < start + ("loss" in row)
        ]
        if kept:
            self.experiment.metrics += kept
            self.save()

    def _mend(self) -> None:
        Path(self.log_dir).mkdir(parents=True, exist_ok=True)


class TensorBoard(_FaultTolerant, lightning.TensorBoardLogger):  # type: ignore[misc]
    """Event files in logs/tensorboard."""

    def __init__(self, folder: Path, *, start: int) -> None:
        # Points after the state that a run goes on from are hidden: they come again.
        super().__init__(folder, name="logs", version="tensorboard", **({"purge_step": start} if start else {}))

    _experiment: Any

    def _mend(self) -> None:
        if self._experiment is not None and not Path(self.log_dir).is_dir():
            self._experiment = None  # its file is open, but no longer anywhere: a new one


def _mlflow(folder: Path, run: str, start: int) -> Any:
    kind = type("MLflow", (_FaultTolerant, lightning.MLFlowLogger), {})
    place = {} if os.environ.get("MLFLOW_TRACKING_URI") else {"save_dir": str(folder / "logs" / "mlflow")}
    return kind(experiment_name="medzoo", run_name=run, **place)


def _wandb(folder: Path, run: str, start: int) -> Any:
    kind = type("WandB", (_FaultTolerant, lightning.WandbLogger), {})
    place = folder / "logs" / "wandb"
    place.mkdir(parents=True, exist_ok=True)
    return kind(project="medzoo", name=run, id=_identity(folder, "wandb", start), save_dir=place, resume="allow")


_MAKERS: dict[LoggerName, Callable[[Path, str, int], Any]] = {
    "csv": lambda folder, run, start: CSV(folder, start=start),
    "tensorboard": lambda folder, run, start: TensorBoard(folder, start=start),
    "mlflow": _mlflow,
    "wandb": _wandb,
}


def _identity(folder: Path, name: str, start: int) -> str:
    """The run's identity at the service; the same for every process that resumes it."""
    path = folder / "logs" / name / "run-id"
    if start and path.is_file():
        return path.read_text().strip()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(secrets.token_hex(16))
    return path.read_text()
