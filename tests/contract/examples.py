"""Made-up samples for every kind of training input, and host steps for graphs that do not take images."""

from __future__ import annotations

from typing import Any

import torch

from medzoo.nn.net import Net


def batch(net: Net, *, labels: int) -> tuple[Any, ...]:
    """(input, target) in which brightness gives the label away."""
    torch.manual_seed(0)
    return net.training_input.example(net.geometry, labels=labels)


def fit(net: Net, *, labels: int) -> None:
    """Fit a net in closed form on made-up samples."""
    torch.manual_seed(0)
    for example in net.training_input.closed_form_examples(net.geometry, labels=labels):
        net.partial_fit(*example)
    net.fit()
