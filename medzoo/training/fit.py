"""Train a net by gradient through a Lightning Trainer, alone or as an ensemble over folds, and report on the fit."""

from __future__ import annotations

import copy
import logging
import math
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, EMAWeightAveraging

from medzoo.errors import UserError
from medzoo.inputs.batches import Batches
from medzoo.inputs.images import ImageBatches, OrderedImages
from medzoo.nn.net import Net
from medzoo.recipe import TrainSection
from medzoo.report.summary import Console
from medzoo.training.checkpoints import (
    AtomicCheckpoints,
    BestWeights,
    Checkpoints,
    Preempted,
    newest_checkpoint,
    remove_checkpoints,
    step_of,
)
from medzoo.training.curve import FILE, CurvePicture
from medzoo.training.gradient import LOSS, GradientModule
from medzoo.training.launch import GatherWeights, Launch, launch_local
from medzoo.training.loggers import make_loggers
from medzoo.training.process_monitor import LostProcessError, ProcessMonitor
from medzoo.training.processes import is_main_process
from medzoo.training.progress import ProgressBar
from medzoo.training.trainer import Loaders, make_trainer, precision_options, quiet_lightning


@dataclass(frozen=True)
class FitReport:
    """The report of a fit: optimiser steps, seconds, the curve [(step, loss, val_loss or None)], the best loss, and
    the findings of a closed-form fit."""

    steps: int
    seconds: float
    curve: list[tuple[int, float, float | None]] = field(default_factory=list)
    best: float | None = None
    bottleneck: str = ""
    findings: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> Mapping[str, Any]:
        """For the manifest."""
        return {
            "steps": self.steps,
            "seconds": round(self.seconds, 1),
            "best_val_loss": self.best,
            "bottleneck": self.bottleneck,
            "curve": [[step, round(loss, 5), None if val is None else round(val, 5)] for step, loss, val in self.curve],
            **({"findings": self.findings} if self.findings else {}),
        }


def predict_all(net: Net, batches: Batches) -> list[Any]:
    """`Net.predictions` of every item, in order."""
    found = []
    with torch.inference_mode():
        for step in range(len(batches)):
            image, target = batches.batch(0, step)
            if len(image):
                found += net.predictions(image, target)
    return found


log = logging.getLogger("medzoo.training")

Launcher = Callable[[TrainSection], Launch]
FALLING = (LOSS, "ece", "brier")  # metrics of which less is better


def total_steps(settings: TrainSection, batches: Batches) -> int:
    """Optimiser steps of a whole run."""
    steps = settings.epochs * -(-len(batches) // settings.accumulate)
    return min(steps, settings.max_steps) if settings.max_steps else steps


def fit_gradient(
    net: Net,
    settings: TrainSection,
    train: Batches,
    val: Batches | None,
    *,
    folder: Path,
    console: Console,
    resume: bool = False,
    name: str = "medzoo",
    launcher: Launcher = launch_local,
    callbacks: Sequence[pl.Callback] = (),
) -> FitReport:
    """Train `net` in place and leave it with its best weights (by `train.monitor` or the validation loss) or, by
    `train.choose` or without validation items, with the last ones; and calibrated on validation items.

    `folder` receives checkpoints, logs and the learning curve; `name`: what they call the run;
    `launcher`: how its processes are launched; `callbacks`: further ones of Lightning. Of several processes only the
    first returns. Raises UserError when the loss is not finite or the disk refuses.
    """
    if settings.monitor not in (None, LOSS, *net.metrics):
        raise UserError(
            f"{settings.monitor!r} is not a validation metric of this model",
            where="train.monitor",
            hint=f"it has {', '.join((LOSS, *net.metrics))}",
        )
    fit = _fit_ensemble if net.parts else _fit_net
    report = fit(net, settings, train, val, FitOptions(folder, console, resume, name, launcher, callbacks))
    if torch.distributed.is_initialized() and torch.distributed.get_rank():
        raise SystemExit(0)  # the first process alone exports, evaluates and writes
    return report


@dataclass(frozen=True)
class FitOptions:
    """The options of a fit: its folder, console and name, if it resumes, and how its processes are launched."""

    folder: Path
    console: Console
    resume: bool
    name: str
    launcher: Launcher
    callbacks: Sequence[pl.Callback] = ()

    def of_member(self, number: int) -> FitOptions:
        """The same for one net of an ensemble, in a folder of its own."""
        return replace(self, folder=self.folder / f"member-{number}", name=f"{self.name}, member {number + 1}")


def _fit_net(net: Net, settings: TrainSection, train: Batches, val: Batches | None, options: FitOptions) -> FitReport:
    folder, console = options.folder, options.console
    configure_loss(net, settings, train)
    if settings.channels_last:
        net.to(memory_format=torch.channels_last)
    steps = total_steps(settings, train)
    sharded = settings.strategy == "fsdp"
    if sharded and settings.ema:
        raise UserError("a moving average of sharded weights is not supported", "train.ema", "strategy: ddp, or no ema")
    # Sharding takes the parameters of what it trains apart; what it learns is put into `net` at the end.
    learner = copy.deepcopy(net) if sharded else net
    module = GradientModule(learner, settings, steps=steps)
    gathered = GatherWeights()
    bar = ProgressBar(steps=steps, console=console)
    checkpoints = folder / "checkpoints"
    per_epoch = -(-len(train) // settings.accumulate)
    states = Checkpoints(checkpoints, settings.checkpoint, steps_per_epoch=per_epoch)
    resume_from = None
    if options.resume:
        resume_from = newest_checkpoint(checkpoints, say=console.print)
        where = f"from step {step_of(resume_from)}" if resume_from else "from the start: nothing was saved"
        console.print(f"resumes {where}")
    elif is_main_process():
        remove_checkpoints(checkpoints)
    start = step_of(resume_from) if resume_from else 0
    picture = CurvePicture(folder / FILE, bar, title=options.name)
    monitor = ProcessMonitor(console)
    callbacks: list[pl.Callback] = [bar, states, picture, monitor, *options.callbacks]
    best = None
    if val is not None:
        metric = settings.monitor or LOSS
        monitored = {"monitor": f"val_{metric}", "mode": "min" if metric in FALLING else "max"}
        best = BestWeights(checkpoints, **monitored)
        callbacks.append(best)
        if settings.early_stopping:
            # A metric that is not defined yet is no better one, and no reason to stop.
            callbacks.append(EarlyStopping(patience=settings.early_stopping, check_finite=False, **monitored))
    if sharded:
        callbacks.append(gathered)
    if settings.ema:
        callbacks.append(EMAWeightAveraging(decay=settings.ema))
    with quiet_lightning():
        loggers = make_loggers(settings.logger, folder, run=options.name, start=start) if is_main_process() else []
        launch = options.launcher(settings)
        arithmetic, scaled = precision_options(settings)
        trainer = make_trainer(
            max_steps=steps,
            max_epochs=-1,
            **launch.options,
            **arithmetic,
            accumulate_grad_batches=settings.accumulate,
            gradient_clip_val=settings.clip,
            deterministic=settings.deterministic,
            callbacks=callbacks,
            logger=loggers,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            # Of many processes each sees a part of the batch, and batch norm must see all of it.
            sync_batchnorm=torch.cuda.is_available(),
            reload_dataloaders_every_n_epochs=1,
            log_every_n_steps=50,
            enable_checkpointing=best is not None,
            plugins=[AtomicCheckpoints(), *launch.plugins, *scaled],
            default_root_dir=folder,
        )
        try:
            with monitor.watched(trainer):
                trainer.fit(
                    module,
                    datamodule=Loaders(train, val, workers=settings.workers),
                    ckpt_path=resume_from,
                    weights_only=True,
                )
        except Preempted as ended:
            word = "Ctrl-C" if ended.by == signal.SIGINT else "SIGTERM"
            console.print(f"{word}: the state is saved; go on with --resume")
            raise
        except OSError as error:
            raise UserError(
                f"training stopped, the last checkpoint is kept: {error.strerror or error}",
                where=str(error.filename or folder),
                hint="free disk space, then continue with --resume",
            ) from error
        except RuntimeError as error:
            if monitor.lost is None:
                raise
            hint = "the last checkpoint is kept, continue with --resume"
            raise LostProcessError(monitor.lost, hint=hint) from error
    seconds = bar.seconds
    state, score = gathered.state, None
    if best is not None and best.best_model_path:
        weights, score = best.weights()
        if score is not None and not math.isfinite(score):  # of a detector that never found anything
            console.print(f"{settings.monitor} was never defined on the validation items: the last state is taken")
            score = None
        elif settings.choose == "best":
            state = weights
    net.cpu().eval()
    if state:
        net.load_state_dict({name.removeprefix("net."): tensor for name, tensor in state.items()})
    if val is not None and not net.fit_after_gradient:
        net.calibrate(predict_all(net, val))
    return FitReport(trainer.global_step, seconds, bar.curve, score, bar.bottleneck)


def _fit_ensemble(
    net: Net, settings: TrainSection, train: Batches, val: Batches | None, options: FitOptions
) -> FitReport:
    """Train each member without its fold, which validates it; then calibrate on all folds together.

    Validation items join the folds: every item is learned from by all parts but one, and answered by that one.
    """
    if not isinstance(train, ImageBatches):
        way = "train one with --folds K, then make one model of the folds with: medzoo ensemble"
        raise UserError("only classifiers are trained as an ensemble of folds at once", "model.members", way)
    if isinstance(val, OrderedImages):
        train = train.joined(val)
    reports: list[FitReport] = []
    held_out: list[Any] = []
    for number, member in enumerate(net.parts):
        rest, held_fold = train.fold(number, len(net.parts))
        options.console.print(f"member {number + 1} of {len(net.parts)}")
        reports.append(_fit_net(member, settings, rest, held_fold, options.of_member(number)))
        held_out += predict_all(member, held_fold)
    net.eval()
    net.calibrate(held_out)
    scores = [report.best for report in reports if report.best is not None]
    return FitReport(
        sum(report.steps for report in reports),
        sum(report.seconds for report in reports),
        [row for report in reports for row in report.curve],
        sum(scores) / len(scores) if scores else None,
        reports[0].bottleneck,
    )


def configure_loss(net: Net, settings: TrainSection, train: Batches) -> None:
    """Set up a classifier's loss. Raises UserError where a class has no training images."""
    if isinstance(train, ImageBatches):
        net.configure_loss(settings, _counts(train))


def _counts(train: ImageBatches) -> list[int]:
    counts = train.pictures.counts
    for label, count in zip(train.pictures.labels, counts, strict=True):
        if not count:
            raise UserError(
                f"the class {label!r} has no training images",
                where="data.split",
                hint="add images of it, take it out of the labels, or give train a larger share",
            )
    return counts
