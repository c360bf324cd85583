"""Schedules step by step, what is decayed, and that accumulating and averaging are what they are called."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from medzoo.recipe import TrainSection
from medzoo.training.optimiser import make_optimiser, make_schedule
from tests.unit.training.test_gradient_fit import fit


def rates(steps: int, **train: Any) -> list[float]:
    """The learning rate of each of so many steps, in units of `lr`."""
    settings = TrainSection(**train)
    optimiser = make_optimiser(nn.Linear(2, 2), settings)
    schedule = make_schedule(optimiser, settings, steps=steps)
    found = []
    for _ in range(steps):
        found.append(optimiser.param_groups[0]["lr"] / settings.lr)
        optimiser.step()
        schedule.step()
    return found


def test_cosine_falls_by_half_a_wave_after_the_warm_up() -> None:
    expected = [1 / 3, 2 / 3, 1.0, *[0.5 * (1 + math.cos(math.pi * k / 7)) for k in range(7)]]
    assert rates(10, warmup=3) == pytest.approx(expected)
    assert rates(10, warmup=0.3) == pytest.approx(expected)  # a share of the run
    assert rates(4) == pytest.approx([1, 0.5 * (1 + math.cos(math.pi / 4)), 0.5, 0.5 * (1 - math.cos(math.pi / 4))])


def test_steps_divide_by_ten_at_each_milestone_and_constant_stays() -> None:
    assert rates(8, schedule="step") == pytest.approx([1] * 4 + [0.1] * 2 + [0.01] * 2)
    assert rates(4, schedule="step", milestones=[0.25]) == pytest.approx([1, 0.1, 0.1, 0.1])
    assert rates(4, schedule="constant", warmup=2) == pytest.approx([0.5, 1, 1, 1])


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_weights_are_decayed_and_biases_are_not(name: Any) -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    frozen, *_ = net[0].parameters()
    optimiser = make_optimiser(net, TrainSection(optimizer=name, weight_decay=0.1))
    decayed, plain = optimiser.param_groups
    assert [parameter.ndim for parameter in decayed["params"]] == [4]
    assert [parameter.ndim for parameter in plain["params"]] == [1, 1, 1]
    assert plain["weight_decay"] == 0
    frozen.requires_grad_(False)
    assert not make_optimiser(net, TrainSection(optimizer=name)).param_groups[0]["params"]


def test_two_batches_that_make_one_step_are_one_batch_of_twice_the_size(tmp_path: Path) -> None:
    options: dict[str, Any] = {"optimizer": "sgd", "lr": 1e-2, "choose": "last"}
    large, one = fit(tmp_path / "large", batch=6, **options)
    small, two = fit(tmp_path / "small", batch=3, accumulate=2, **options)
    assert one.steps == two.steps
    for a, b in zip(large.parameters(), small.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_the_moving_average_lags_behind_the_weights(tmp_path: Path) -> None:
    start, _ = fit(tmp_path / "start", lr=1e-12, choose="last")
    plain, _ = fit(tmp_path / "plain", choose="last")
    averaged, _ = fit(tmp_path / "averaged", choose="last", ema=0.9)

    def way(net: Any) -> float:
        pairs = zip(net.parameters(), start.parameters(), strict=True)
        return math.sqrt(sum(float((a - b).detach().square().sum()) for a, b in pairs))

    assert 0 < way(averaged) < 0.8 * way(plain)


def test_poly_falls_to_zero_by_a_power_of_nine_tenths_after_the_warm_up() -> None:
    expected = [0.5, 1.0, *[(1 - k / 8) ** 0.9 for k in range(8)]]
    assert rates(10, schedule="poly", warmup=2) == pytest.approx(expected)
    assert rates(4, schedule="poly") == pytest.approx([(1 - k / 4) ** 0.9 for k in range(4)])
