"""A learning rate from a short sweep: it rises step by step until the loss runs away.

Smith, WACV 2017. A copy of the net is swept, so it costs nothing but its steps.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from lightning_fabric.utilities import move_data_to_device

from medzoo.errors import UserError
from medzoo.inputs.batches import Batches
from medzoo.nn.net import Net
from medzoo.training.optimiser import Settings, make_optimiser

RUNAWAY = 4.0  # times the least loss, at which the sweep ends
SMOOTH = 0.9  # share of the running mean that a step keeps


@dataclass(frozen=True)
class LrSweep:
    """The rates that were tried, the smoothed loss at each, and a tenth of the rate of the least loss."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float


def find_lr(
    net: Net,
    batches: Batches,
    settings: Settings,
    *,
    low: float = 1e-6,
    high: float = 1.0,
    steps: int = 60,
    device: str | None = None,
) -> LrSweep:
    """Sweep the rate from `low` to `high` in `steps` equal ratios, on a copy of the net.

    `device`: a GPU where there is one, by default. Raises UserError if no loss ever falls.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    probe = copy.deepcopy(net).to(device).train()
    optimiser = make_optimiser(probe, settings)
    rates: list[float] = []
    losses: list[float] = []
    mean = 0.0
    for step in range(steps):
        rate = low * (high / low) ** (step / max(1, steps - 1))
        for group in optimiser.param_groups:
            group["lr"] = rate
        epoch, place = divmod(step, len(batches))
        batch = move_data_to_device(batches.batch(epoch, place), device)
        total = torch.stack(list(probe.loss(*batch).values())).sum()
        mean = SMOOTH * mean + (1 - SMOOTH) * float(total.detach())
        smooth = mean / (1 - SMOOTH ** (step + 1))
        if not math.isfinite(smooth) or (losses and smooth > RUNAWAY * min(losses)):
            break
        rates.append(rate)
        losses.append(smooth)
        optimiser.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return LrSweep(tuple(rates), tuple(losses), _tenth_of_best(rates, losses))


def _tenth_of_best(rates: list[float], losses: list[float]) -> float:
    """A tenth of the rate of the least loss: there it falls still, and the steps are not yet too long."""
    best = losses.index(min(losses)) if losses else 0
    if not best:
        raise UserError(
            "the loss did not fall at any learning rate of the sweep",
            where="train.lr",
            hint="check labels and preprocessing",
        )
    return rates[best] / 10
