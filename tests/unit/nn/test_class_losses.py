"""Losses of classifiers against torch's own and against hand-made numbers."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

from medzoo.nn.losses import ClassLoss, balanced_weights

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, -0.3], [-1.0, 3.0, 0.0]])
TARGET = torch.tensor([0, 2, 1])


def test_plain_and_smoothed_are_torchs() -> None:
    assert torch.allclose(ClassLoss()(LOGITS, TARGET), cross_entropy(LOGITS, TARGET))
    smooth = ClassLoss(smoothing=0.1)(LOGITS, TARGET)
    assert torch.allclose(smooth, cross_entropy(LOGITS, TARGET, label_smoothing=0.1))


def test_shares_are_the_mixture_of_both_losses() -> None:
    shares = torch.tensor([[0.7, 0.3, 0.0]])
    one, two = (cross_entropy(LOGITS[:1], torch.tensor([k])) for k in (0, 1))
    assert torch.allclose(ClassLoss()(LOGITS[:1], shares), 0.7 * one + 0.3 * two)


def test_focal_of_gamma_two_by_hand() -> None:
    p = LOGITS.softmax(1)[torch.arange(3), TARGET]
    assert torch.allclose(ClassLoss(focal=2.0)(LOGITS, TARGET), (-((1 - p) ** 2) * p.log()).mean())


def test_weights_multiply_and_shares_of_a_batch_add_up() -> None:
    weights = balanced_weights([10, 30, 20])
    assert weights == [2.0, 60 / 90, 1.0]
    loss = ClassLoss(weights=weights)
    each = cross_entropy(LOGITS, TARGET, reduction="none") * torch.tensor(weights)[TARGET]
    assert torch.allclose(loss(LOGITS, TARGET), each.mean())
    parts = loss(LOGITS[:1], TARGET[:1]) / 3 + loss(LOGITS[1:], TARGET[1:]) * 2 / 3
    assert torch.allclose(parts, loss(LOGITS, TARGET))
