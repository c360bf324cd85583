"""Losses of classifiers: cross entropy with soft or smoothed targets, class weights, focal. Knows torch alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn


class Settings(Protocol):
    """The fields of a recipe's `train` that are read here."""

    @property
    def label_smoothing(self) -> float: ...
    @property
    def focal(self) -> float | None: ...
    @property
    def class_weights(self) -> str: ...


class ClassLoss(nn.Module):
    """Mean over the batch of a loss of logits (B, K) and targets (B,) int64 or (B, K) shares.

    `smoothing` spreads that share of each target over all classes (Szegedy et al., CVPR 2016). `focal` is the
    gamma of the focal loss (Lin et al., ICCV 2017), which weighs an item down by (1 - p)^gamma. `weights` (K,)
    multiply each class; the mean is over items, not over weights, so that the share of one process adds up
    to the loss of the whole batch.
    """

    weights: Tensor | None

    def __init__(
        self, *, smoothing: float = 0.0, focal: float | None = None, weights: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        self.smoothing, self.focal = smoothing, focal
        stored = None if weights is None else torch.tensor(weights, dtype=torch.float32)
        self.register_buffer("weights", stored, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss, a scalar."""
        logits = logits.float()
        classes = logits.shape[1]
        shares = nn.functional.one_hot(target, classes).to(logits) if target.ndim == 1 else target.to(logits)
        if self.smoothing:
            shares = shares * (1 - self.smoothing) + self.smoothing / classes
        log = logits.log_softmax(dim=1)
        terms = -shares * log
        if self.focal is not None:
            terms = terms * (1 - log.exp()).clamp(min=1e-8) ** self.focal
        if self.weights is not None:
            terms = terms * self.weights
        return terms.sum(dim=1).mean()


def balanced_weights(counts: Sequence[int]) -> list[float]:
    """Weights (K,) in inverse proportion to how often classes occur; their mean over items is 1."""
    total, classes = sum(counts), len(counts)
    return [total / (classes * count) for count in counts]


def make_loss(settings: Settings, counts: Sequence[int]) -> ClassLoss:
    """The loss that a recipe asks for; `counts` (K,) training items of each class."""
    weights = balanced_weights(counts) if settings.class_weights == "balanced" else None
    return ClassLoss(smoothing=settings.label_smoothing, focal=settings.focal, weights=weights)
