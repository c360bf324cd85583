"""Lightning's Trainer for medzoo: loaders as a data module, precision, and silence where it says nothing new."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import MixedPrecision
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from medzoo.errors import UserError
from medzoo.inputs.batches import Batches, Loader
from medzoo.nn.torch_backend import SLOW_BFLOAT16, is_emulated
from medzoo.recipe import TrainSection
from medzoo.training.processes import is_main_process

log = logging.getLogger("medzoo.training")


class Loaders(pl.LightningDataModule):  # type: ignore[misc]
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


def make_trainer(**options: Any) -> Any:
    """A Trainer. Raises UserError for devices, nodes or a strategy that this machine does not have."""
    try:
        return pl.Trainer(**options)
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        # What devices, nodes, strategy and the launcher ask for and this machine does not have.
        raise UserError(" ".join(str(error).split()), where="train", hint="see devices, nodes and strategy") from error


def precision_options(settings: TrainSection) -> tuple[dict[str, Any], list[Any]]:
    """The Trainer's option for the arithmetic, or the plugin that takes its place."""
    name = settings.precision
    if name == "auto":
        name = "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "fp32"
    if name == "bf16" and not torch.cuda.is_available() and is_emulated("cpu") and is_main_process():
        log.warning("train.precision: bf16: %s", SLOW_BFLOAT16)
    if name == "fp16" and not torch.cuda.is_available() and settings.strategy != "fsdp":
        # Lightning would take bf16 on a CPU, without a word; torch can do what was asked.
        return {}, [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))]
    return {"precision": {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[name]}, []


@contextmanager
def quiet_lightning() -> Iterator[None]:
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
