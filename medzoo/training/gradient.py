"""The one Lightning module for every net that learns by gradient: the net's own losses, one optimiser."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch import Tensor

from medzoo.errors import UserError
from medzoo.nn.net import Net
from medzoo.recipe import TrainSection
from medzoo.training.optimiser import make_optimiser, make_schedule

LOSS = "loss"


class GradientModule(pl.LightningModule):  # type: ignore[misc]
    """Minimises the sum of `net.loss`; `steps` is the number of optimiser steps the schedule spans.

    With several processes each takes its share of the same global batch; the gradient is that of the whole
    batch, and validation figures are taken over every item exactly once.
    """

    def __init__(self, net: Net, settings: TrainSection, *, steps: int) -> None:
        super().__init__()
        self.net = net
        self.settings = settings
        self.steps = steps
        self._losses: list[tuple[float, int]] = []
        self._predictions: list[Any] = []

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning notes the name of each hook here, some forty times a step; torch would look at each of them as if it
        # were a parameter.
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def on_train_batch_start(self, batch: Any, index: int) -> None:
        # Dropout and the detector's sampling draw from the global generator. What they draw is a function of the
        # place in the run, as batches are, so a resumed run draws what the stopped one would have drawn.
        key = (self.settings.seed, 1 << 21, self.trainer.current_epoch, index, self.trainer.global_rank)
        seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
        # Not torch.manual_seed: for each kind of device that is not there it writes a traceback down, every time.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def training_step(self, batch: tuple[Any, ...], index: int) -> Tensor:
        try:
            losses = self.net.loss(self._channels_last(batch[0]), *batch[1:])
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise UserError(
                f"batch norm needs more than one value per channel, got batch size {len(batch[0])}",
                where="train.batch",
                hint="two items or more for each device, or larger images",
            ) from error
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            self._refuse_non_finite(losses, index)
        return total * self._weight(len(batch[0]))

    def validation_step(self, batch: tuple[Any, ...], index: int) -> None:
        count = len(batch[0])
        if not count:  # the share of this process in a small last batch
            return
        image = self._channels_last(batch[0])
        losses = self.net.loss(image, *batch[1:])
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            self._refuse_non_finite(losses, index, validation=True)
        self._losses.append((float(total) * count, count))
        if self.settings.monitor not in (None, LOSS):
            self._predictions += self.net.predictions(image, batch[1])

    def on_validation_epoch_end(self) -> None:
        total, count = (sum(column) for column in zip(*self._losses, strict=True)) if self._losses else (0.0, 0)
        sums = _sum_over_processes([total, float(count)])
        self._losses.clear()
        if not sums[1]:
            raise UserError("no validation item could be read", where="data")
        self.log("val_loss", sums[0] / sums[1])
        predictions, self._predictions = self._predictions, []
        monitor = self.settings.monitor
        if monitor not in (None, LOSS):
            self.log(f"val_{monitor}", self.net.metric(str(monitor), self._gather_all(predictions)))

    def configure_optimizers(self) -> Any:
        optimiser = make_optimiser(self.net, self.settings)
        schedule = make_schedule(optimiser, self.settings, steps=self.steps)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _channels_last(self, image: Any) -> Any:
        if self.settings.channels_last and isinstance(image, Tensor) and image.ndim == 4:
            return image.contiguous(memory_format=torch.channels_last)
        return image

    def _weight(self, count: int) -> float:
        """The weight that makes the mean over processes of means over shares the mean over the whole batch."""
        world = int(self.trainer.world_size)
        if world == 1:
            return 1.0
        return count * world / _sum_over_processes([float(count)], device=self.device)[0]

    def _refuse_non_finite(self, losses: dict[str, Tensor], index: int, *, validation: bool = False) -> None:
        values = ", ".join(f"{name} = {float(value):g}" for name, value in losses.items())
        feed: Any = getattr(getattr(self.trainer, "datamodule", None), "val" if validation else "train", None)
        files = ""
        if hasattr(feed, "names"):
            rank, world = self.trainer.global_rank, self.trainer.world_size
            files = f" on {', '.join(feed.names(self.trainer.current_epoch, index, rank=rank, world=world))}"
        raise UserError(
            f"the {'validation ' if validation else ''}loss is not finite at step {self.trainer.global_step} "
            f"({values}){files}",
            where="train",
            hint="the last checkpoint is kept; lower train.lr or set train.clip",
        )

    def _gather_all(self, own: list[Any]) -> list[Any]:
        """The answers of all processes."""
        if self.trainer.world_size == 1:
            return own
        everyone: list[Any] = [None] * self.trainer.world_size
        dist.all_gather_object(everyone, own)
        return [answer for share in everyone for answer in share]


def _sum_over_processes(values: list[float], device: Any = "cpu") -> list[float]:
    """The sums over all processes."""
    if not (dist.is_available() and dist.is_initialized()):
        return values
    device = device if dist.get_backend() != "nccl" else torch.device("cuda", torch.cuda.current_device())
    sums = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(sums)
    return [float(value) for value in sums]
