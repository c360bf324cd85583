"""Optimisers and learning-rate schedules by name."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import nn


class Settings(Protocol):
    """The fields of a recipe's `train` that are read here."""

    @property
    def optimizer(self) -> str: ...
    @property
    def lr(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def momentum(self) -> float: ...
    @property
    def milestones(self) -> tuple[float, ...]: ...
    @property
    def schedule(self) -> str: ...
    @property
    def warmup(self) -> float: ...


def make_optimiser(net: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """The recipe's optimiser; biases and normalisation weights are not decayed."""
    decayed = [p for p in net.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in net.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.momentum > 0)
    if settings.optimizer == "adam":
        return torch.optim.Adam(groups, lr=settings.lr)
    return torch.optim.AdamW(groups, lr=settings.lr)


def make_schedule(
    optimiser: torch.optim.Optimizer, settings: Settings, *, steps: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """The learning rate by optimiser step: a linear warm-up, then constant, cosine to zero, to
    zero by a power of 0.9 (Isensee et al., 2021), or a tenfold drop at each milestone.

    `warmup`: a number of steps from 1 on, a fraction of all `steps` below 1.
    """
    warmup = round(settings.warmup * steps) if settings.warmup < 1 else int(settings.warmup)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        done = min(1.0, (step - warmup) / max(1, steps - warmup))
        if settings.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        if settings.schedule == "poly":
            return float((1 - done) ** 0.9)
        if settings.schedule == "step":
            return 0.1 ** sum(done >= milestone for milestone in settings.milestones)
        return 1.0

    return torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
