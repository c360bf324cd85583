"""Launch the processes of a training: options for Lightning's Trainer, and fully sharded data parallel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import SLURMEnvironment
from pytorch_lightning.strategies import FSDPStrategy
from torch.distributed.fsdp.wrap import size_based_auto_wrap_policy

from medzoo.errors import UserError
from medzoo.recipe import TrainSection


@dataclass(frozen=True)
class Launch:
    """Options of a Trainer, and what it is plugged together from beside our own checkpoints."""

    options: Mapping[str, Any]
    plugins: tuple[Any, ...] = field(default=())


def launch_local(settings: TrainSection) -> Launch:
    """Processes that Lightning starts itself, or finds started by torchrun or SLURM."""
    if settings.strategy == "fsdp" and not torch.cuda.is_available():
        raise UserError("fsdp needs GPUs, and there is none here", "train.strategy", "strategy: ddp, or auto")
    options = {
        "accelerator": "auto",
        "devices": settings.devices,
        "num_nodes": settings.nodes,
        "strategy": ShardedStrategy() if settings.strategy == "fsdp" else settings.strategy,
    }
    # Requeueing is ours: Lightning would save in the middle of a step.
    plugins = (SLURMEnvironment(auto_requeue=False),) if SLURMEnvironment.detect() else ()
    return Launch(options, plugins)


def launch_ray_worker(settings: TrainSection) -> Launch:
    """Processes that Ray Train has started: this is one of them."""
    from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment

    if settings.strategy == "fsdp":
        raise UserError("Ray supports the ddp strategy only", "train.strategy", "strategy: ddp, or --engine local")
    return Launch(
        {"accelerator": "auto", "devices": "auto", "num_nodes": 1, "strategy": RayDDPStrategy()},
        (RayLightningEnvironment(),),
    )


MIN_WRAPPED_PARAMETERS = 1_000_000  # parameters from which a layer is gathered and let go of by itself


class ShardedStrategy(FSDPStrategy):  # type: ignore[misc]
    """FSDP of parameters, gradients and optimiser over GPUs, large layers one by one."""

    def __init__(self) -> None:
        policy: Any = partial(size_based_auto_wrap_policy, min_num_params=MIN_WRAPPED_PARAMETERS)
        super().__init__(auto_wrap_policy=policy, state_dict_type="full")


class GatherWeights(pl.Callback):  # type: ignore[misc]
    """Puts sharded weights together when a training ends, in its first process."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.state = trainer.strategy.lightning_module_state_dict()
