"""Fully sharded data parallel, with states that are whole: one file, whatever the number of processes."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.strategies import FSDPStrategy
from torch.distributed.fsdp.wrap import size_based_auto_wrap_policy

UNIT = 1_000_000  # parameters from which a layer is gathered and let go of by itself


class Sharded(FSDPStrategy):  # type: ignore[misc]
    """FSDP of parameters, gradients and optimiser over GPUs, large layers one by one."""

    def __init__(self) -> None:
        policy: Any = partial(size_based_auto_wrap_policy, min_num_params=UNIT)
        super().__init__(auto_wrap_policy=policy, state_dict_type="full")


class Gathered(pl.Callback):  # type: ignore[misc]
    """Puts sharded weights together when a training ends, in its first process."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.state = trainer.strategy.lightning_module_state_dict()
