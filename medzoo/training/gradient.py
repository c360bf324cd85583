"""The one Lightning module for every net that learns by gradient: the net's own losses, one optimiser."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch

from medzoo.errors import UserError
from medzoo.nn.net import Net
from medzoo.recipe import TrainSection
from medzoo.training.optimiser import make_optimiser, make_schedule


class GradientModule(pl.LightningModule):  # type: ignore[misc]
    """Minimises the sum of `net.loss`; `steps` is the number of optimiser steps the schedule spans."""

    def __init__(self, net: Net, settings: TrainSection, *, steps: int) -> None:
        super().__init__()
        self.net = net
        self.settings = settings
        self.steps = steps

    def training_step(self, batch: tuple[Any, ...], index: int) -> torch.Tensor:
        losses = self.net.loss(*batch)
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            names = ", ".join(f"{name} = {float(value):g}" for name, value in losses.items())
            raise UserError(
                f"the loss is not finite at step {self.trainer.global_step} ({names})",
                where="train",
                hint="the last checkpoint is kept; lower train.lr or set train.clip",
            )
        return total

    def validation_step(self, batch: tuple[Any, ...], index: int) -> None:
        total = torch.stack(list(self.net.loss(*batch).values())).sum()
        self.log("val_loss", total, batch_size=len(batch[0]), on_epoch=True, sync_dist=True)

    def configure_optimizers(self) -> Any:
        optimiser = make_optimiser(self.net, self.settings)
        schedule = make_schedule(optimiser, self.settings, steps=self.steps)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
