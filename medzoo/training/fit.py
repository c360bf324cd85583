"""Fit a net: gradient nets through a Lightning Trainer, closed-form nets in one pass over the data."""

from __future__ import annotations

import copy
import logging
import math
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, EMAWeightAveraging
from pytorch_lightning.plugins.precision import MixedPrecision
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from medzoo.errors import UserError
from medzoo.inputs.batches import Batches, Loader
from medzoo.inputs.images import ImageBatches, OrderedImages
from medzoo.nn.bfloat16 import SLOW, emulated
from medzoo.nn.net import Net
from medzoo.recipe import TrainSection
from medzoo.report.console import Console
from medzoo.training.checkpoints import AtomicCheckpoints, BestWeights, Checkpoints, Preempted, forget, newest, step_of
from medzoo.training.curve import FILE, CurvePicture
from medzoo.training.gradient import LOSS, GradientModule
from medzoo.training.launch import Launch, local
from medzoo.training.loggers import make_loggers
from medzoo.training.process_monitor import LostProcessError, ProcessMonitor
from medzoo.training.processes import is_first
from medzoo.training.progress import ProgressBar
from medzoo.training.strategies import Gathered

log = logging.getLogger("medzoo.training")

Launched = Callable[[TrainSection], Launch]
FALLING = (LOSS, "ece", "brier")  # figures of which less is better


@dataclass(frozen=True)
class FitReport:
    """The report of a fit: optimiser steps, seconds, the curve [(step, loss, val_loss or None)], the best loss, and
    what a closed-form net has to say of its solution."""

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


class _Data(pl.LightningDataModule):  # type: ignore[misc]
    """Hands the loaders over and tells the training loader which epoch and step it starts from."""

    def __init__(self, train: Batches, val: Batches | None, *, workers: int) -> None:
        super().__init__()
        self.train, self.val, self.workers = train, val, workers

    def _loader(self, batches: Batches, epoch: int) -> Loader:
        trainer = self.trainer
        assert trainer is not None
        loader = Loader(batches, workers=self.workers, rank=trainer.global_rank, world=trainer.world_size)
        loader.epoch = epoch
        return loader

    def train_dataloader(self) -> Loader:
        assert self.trainer is not None
        loader = self._loader(self.train, self.trainer.current_epoch)
        loader.start = self.trainer.fit_loop.epoch_loop.batch_progress.current.completed % len(self.train)
        return loader

    def val_dataloader(self) -> Loader | list[Any]:
        return self._loader(self.val, 0) if self.val is not None else []


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
    launched: Launched = local,
) -> FitReport:
    """Train `net` in place and leave it with its best weights (by `train.monitor` or the validation loss) or, by
    `train.choose` or without validation items, with the last ones; and with what it concludes from validation items.

    `folder` receives checkpoints, logs and the learning curve; `name`: what they call the run;
    `launched`: how its processes come to be. Of several processes only the first returns. Raises UserError when
    the loss is not finite or the disk refuses.
    """
    if settings.monitor not in (None, LOSS, *net.metrics):
        raise UserError(
            f"{settings.monitor!r} is no figure that this net is judged by",
            where="train.monitor",
            hint=f"it has {', '.join((LOSS, *net.metrics))}",
        )
    fit = _fit_parts if net.parts else _fit_net
    report = fit(net, settings, train, val, _How(folder, console, resume, name, launched))
    if torch.distributed.is_initialized() and torch.distributed.get_rank():
        raise SystemExit(0)  # the first process alone exports, evaluates and writes
    return report


@dataclass(frozen=True)
class _How:
    """The options of a fit: its folder, console and name, if it resumes, and how its processes are launched."""

    folder: Path
    console: Console
    resume: bool
    name: str
    launched: Launched

    def of_member(self, number: int) -> _How:
        """The same for one net of an ensemble, in a folder of its own."""
        return replace(self, folder=self.folder / f"member-{number}", name=f"{self.name}, member {number + 1}")


def _fit_net(net: Net, settings: TrainSection, train: Batches, val: Batches | None, how: _How) -> FitReport:
    folder, console = how.folder, how.console
    configure_loss(net, settings, train)
    if settings.channels_last:
        net.to(memory_format=torch.channels_last)
    steps = total_steps(settings, train)
    sharded = settings.strategy == "fsdp"
    if sharded and settings.ema:
        raise UserError("the moving average is not kept of sharded weights", "train.ema", "strategy: ddp, or no ema")
    # Sharding takes the parameters of what it trains apart; what it learns is put into `net` at the end.
    learner = copy.deepcopy(net) if sharded else net
    module = GradientModule(learner, settings, steps=steps)
    gathered = Gathered()
    bar = ProgressBar(steps=steps, console=console)
    checkpoints = folder / "checkpoints"
    per_epoch = -(-len(train) // settings.accumulate)
    states = Checkpoints(checkpoints, settings.checkpoint, steps_per_epoch=per_epoch)
    resume_from = None
    if how.resume:
        resume_from = newest(checkpoints, say=console.print)
        where = f"from step {step_of(resume_from)}" if resume_from else "from the start: nothing was saved"
        console.print(f"goes on {where}")
    elif is_first():
        forget(checkpoints)
    start = step_of(resume_from) if resume_from else 0
    picture = CurvePicture(folder / FILE, bar, title=how.name)
    monitor = ProcessMonitor(console)
    callbacks: list[pl.Callback] = [bar, states, picture, monitor]
    best = None
    if val is not None:
        watched = settings.monitor or LOSS
        judged = {"monitor": f"val_{watched}", "mode": "min" if watched in FALLING else "max"}
        best = BestWeights(checkpoints, **judged)
        callbacks.append(best)
        if settings.early_stopping:
            # A figure that is not defined yet is no better one, and no reason to stop.
            callbacks.append(EarlyStopping(patience=settings.early_stopping, check_finite=False, **judged))
    if sharded:
        callbacks.append(gathered)
    if settings.ema:
        callbacks.append(EMAWeightAveraging(decay=settings.ema))
    with _quiet():
        loggers = make_loggers(settings.logger, folder, run=how.name, start=start) if is_first() else []
        launch = how.launched(settings)
        arithmetic, scaled = _precision(settings)
        trainer = _trainer(
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
                    datamodule=_Data(train, val, workers=settings.workers),
                    ckpt_path=resume_from,
                    weights_only=True,
                )
        except Preempted as ended:
            word = "Ctrl-C" if ended.by == signal.SIGINT else "SIGTERM"
            console.print(f"{word}: the state is saved; go on with --resume")
            raise
        except OSError as error:
            raise UserError(
                f"training stopped, the last state is kept: {error.strerror or error}",
                where=str(error.filename or folder),
                hint="free space, then go on with --resume",
            ) from error
        except RuntimeError as error:
            if monitor.lost is None:
                raise
            hint = "the last state is kept, go on with --resume"
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
        net.calibrate(answers(net, val))
    return FitReport(trainer.global_step, seconds, bar.curve, score, bar.bottleneck)


def _fit_parts(net: Net, settings: TrainSection, train: Batches, val: Batches | None, how: _How) -> FitReport:
    """Train each part without its fold, which judges it; then conclude from all folds together.

    Validation items join the folds: every item is learned from by all parts but one, and answered by that one.
    """
    if not isinstance(train, ImageBatches):
        raise UserError("an ensemble of folds needs pictures with classes", where="model.members")
    if isinstance(val, OrderedImages):
        train = train.joined(val)
    reports: list[FitReport] = []
    held_out: list[Any] = []
    for number, member in enumerate(net.parts):
        rest, held = train.fold(number, len(net.parts))
        how.console.print(f"member {number + 1} of {len(net.parts)}")
        reports.append(_fit_net(member, settings, rest, held, how.of_member(number)))
        held_out += answers(member, held)
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


def answers(net: Net, batches: Batches) -> list[Any]:
    """`Net.answers` of every item of an ordered feed."""
    found = []
    with torch.inference_mode():
        for step in range(len(batches)):
            image, target = batches.batch(0, step)
            if len(image):
                found += net.predictions(image, target)
    return found


def configure_loss(net: Net, settings: TrainSection, train: Batches) -> None:
    """Tell a classifier what its loss is. Raises UserError where a class has no training images."""
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


def fit_closed_form(net: Net, train: Batches) -> FitReport:
    """One pass of `observe` over every batch, then `solve`."""
    start = time.perf_counter()
    for step in range(len(train)):
        net.partial_fit(*train.batch(0, step))
    net.fit(getattr(train, "names", ()))
    net.eval()
    return FitReport(1, time.perf_counter() - start, findings=net.fit_report)


def fit_both(
    net: Net,
    settings: TrainSection,
    train: Batches,
    val: Batches | None,
    whole: Batches,
    judged: Batches | None,
    *,
    folder: Path,
    console: Console,
    resume: bool = False,
    name: str = "medzoo",
    launched: Launched = local,
) -> FitReport:
    """By gradient on `train`, where anything in the net learns so; then solved on `whole`, then concluded on `judged`.

    See `fit_gradient`. Raises UserError as it does, and where nothing can be solved.
    """
    report = None
    if any(parameter.requires_grad for parameter in net.parameters()):
        report = fit_gradient(
            net, settings, train, val, folder=folder, console=console, resume=resume, name=name, launched=launched
        )
    console.print("solving what has a closed form")
    solved = fit_closed_form(net, whole)
    if judged is not None:
        net.calibrate(answers(net, judged))
    if report is None:
        return solved
    return replace(report, seconds=report.seconds + solved.seconds, findings=solved.findings)


def _trainer(**options: Any) -> Any:
    try:
        return pl.Trainer(**options)
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        # What devices, nodes, strategy and the launcher ask for and this machine does not have.
        raise UserError(" ".join(str(error).split()), where="train", hint="see devices, nodes and strategy") from error


def _precision(settings: TrainSection) -> tuple[dict[str, Any], list[Any]]:
    """The Trainer's option for the arithmetic, or the plugin that takes its place."""
    name = settings.precision
    if name == "auto":
        name = "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "fp32"
    if name == "bf16" and not torch.cuda.is_available() and emulated("cpu") and is_first():
        log.warning("train.precision: bf16: %s", SLOW)
    if name == "fp16" and not torch.cuda.is_available() and settings.strategy != "fsdp":
        # Lightning would take bf16 on a CPU, without a word; torch can do what was asked.
        return {}, [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))]
    return {"precision": {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[name]}, []


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's tips and device tables say nothing that the progress bar and the manifest do not."""
    logger = logging.getLogger("pytorch_lightning")
    rank_zero = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    before = logger.level, rank_zero.level
    logger.setLevel(logging.ERROR)
    rank_zero.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before[0])
        rank_zero.setLevel(before[1])
