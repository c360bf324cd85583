"""Temperature, operating points and conformal sets on data whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medzoo.metrics.classify import expected_calibration_error
from medzoo.nn.calibration import (
    calibrate,
    conformal_sets,
    conformal_threshold,
    fit_temperature,
    operating_point,
)


def drawn(count: int, *, temperature: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits whose softmax at `temperature` is exactly how often each class comes."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 4, (count, 3))
    p = np.exp(logits / temperature)
    p /= p.sum(1, keepdims=True)
    target = (rng.random((count, 1)) > p.cumsum(1)).sum(1)
    return torch.tensor(logits), torch.tensor(target)


@pytest.mark.parametrize("temperature", [0.6, 1.0, 3.0])
def test_temperature_is_found_again(temperature: float) -> None:
    logits, target = drawn(20_000, temperature=temperature, seed=0)
    assert fit_temperature(logits, target) == pytest.approx(temperature, rel=0.05)


def test_temperature_takes_the_calibration_error_away_on_other_items() -> None:
    fitted = fit_temperature(*drawn(2000, temperature=3.0, seed=0))
    logits, target = drawn(5000, temperature=3.0, seed=1)
    before = expected_calibration_error(target.numpy(), logits.softmax(1).numpy())
    after = expected_calibration_error(target.numpy(), (logits / fitted).softmax(1).numpy())
    assert before > 0.15
    assert after < 0.03


def test_operating_points_hold_what_their_rules_say() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 400)
    scores = np.clip(rng.normal(0.35 + 0.3 * truth, 0.2), 0.01, 0.99)

    def rates(threshold: float) -> tuple[float, float]:
        positive = scores >= threshold
        return float(positive[truth == 1].mean()), float((~positive)[truth == 0].mean())

    candidates = [rates(float(t)) for t in np.append(np.unique(scores), 1.0)]
    sensitivity, specificity = rates(operating_point(scores, truth, rule="specificity-90"))
    assert specificity >= 0.9
    assert sensitivity == max(a for a, b in candidates if b >= 0.9)
    sensitivity, specificity = rates(operating_point(scores, truth, rule="sensitivity-90"))
    assert sensitivity >= 0.9
    assert specificity == max(b for a, b in candidates if a >= 0.9)
    assert sum(rates(operating_point(scores, truth, rule="youden"))) == pytest.approx(max(map(sum, candidates)))


def test_conformal_sets_hold_the_truth_as_often_as_stated() -> None:
    covered = []
    for seed in range(40):
        logits, target = drawn(800, temperature=2.0, seed=seed)
        probabilities, truth = logits.softmax(1).numpy(), target.numpy()
        threshold = conformal_threshold(probabilities[:300], truth[:300], coverage=0.9)
        sets = conformal_sets(probabilities[300:], threshold)
        covered.append(sets[np.arange(500), truth[300:]].mean())
    assert 0.89 <= np.mean(covered) <= 0.92
    assert conformal_threshold(probabilities[:5], truth[:5], coverage=0.9) == 0.0  # too few to promise anything


def test_record_for_the_metadata() -> None:
    logits, target = drawn(500, temperature=1.0, seed=0)
    temperature, record, point = calibrate(logits, target, coverage=0.9, rule="youden")
    assert record["temperature"] == temperature
    assert record["conformal"]["coverage"] == 0.9
    assert point is None
    two = calibrate(logits[:, :2], (target > 0).long(), coverage=None, rule="youden")
    assert two[2] is not None
    assert two[2][1].startswith("youden")
    assert "conformal" not in two[1]
