"""Launch the processes of a training: the options that Lightning's Trainer is given for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from pytorch_lightning.plugins.environments import SLURMEnvironment

from medzoo.errors import UserError
from medzoo.recipe import TrainSection
from medzoo.training.strategies import Sharded


@dataclass(frozen=True)
class Launch:
    """Options of a Trainer, and what it is plugged together from beside our own checkpoints."""

    options: Mapping[str, Any]
    plugins: tuple[Any, ...] = field(default=())


def local(settings: TrainSection) -> Launch:
    """Processes that Lightning starts itself, or finds started by torchrun or SLURM."""
    if settings.strategy == "fsdp" and not torch.cuda.is_available():
        raise UserError("fsdp needs GPUs, and there is none here", "train.strategy", "strategy: ddp, or auto")
    options = {
        "accelerator": "auto",
        "devices": settings.devices,
        "num_nodes": settings.nodes,
        "strategy": Sharded() if settings.strategy == "fsdp" else settings.strategy,
    }
    # Requeueing is ours: Lightning would save in the middle of a step.
    plugins = (SLURMEnvironment(auto_requeue=False),) if SLURMEnvironment.detect() else ()
    return Launch(options, plugins)


def ray_worker(settings: TrainSection) -> Launch:
    """Processes that Ray Train has started: this is one of them."""
    from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment

    if settings.strategy == "fsdp":
        raise UserError("Ray supports the ddp strategy only", "train.strategy", "strategy: ddp, or --engine local")
    return Launch(
        {"accelerator": "auto", "devices": "auto", "num_nodes": 1, "strategy": RayDDPStrategy()},
        (RayLightningEnvironment(),),
    )
