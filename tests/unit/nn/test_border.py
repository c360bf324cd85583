"""Scores become chances by a curve of their own at the picture's border."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medzoo.nn.detection.border import MIN_SLOPE, BorderCurve, border_closeness, fit_curve

EXTENT = torch.tensor([200.0, 100.0])  # width, height


def test_closeness_counts_the_sides_on_the_border_and_falls_with_the_box_s_own_sides() -> None:
    boxes = torch.tensor(
        [
            [60.0, 40, 100, 80],  # far from every side
            [0, 40, 40, 80],  # on the left
            [0, 0, 40, 40],  # in the corner
            [2.5, 40, 42.5, 80],  # half of an eighth of its width away
            [100, 40, 197.5, 80],  # as far, but of a box more than twice as wide
            [60, 94, 100, 99],  # 1 of 5 pixels away: more than an eighth of its height
            [0, 0, 200, 100],
            [0, 0, 0, 0],
        ]
    )
    expected = [0, 1, 2, 0.5, 1 - 2.5 / (97.5 / 8), 0, 4, 2]
    np.testing.assert_allclose(border_closeness(boxes, EXTENT).numpy(), expected, atol=1e-6)
    # Whatever leads the boxes; each picture of a batch is told the same alone.
    torch.testing.assert_close(
        border_closeness(boxes.reshape(2, 4, 4), EXTENT).flatten(), border_closeness(boxes, EXTENT)
    )


def drawn(count: int, *, slope: float, border: float, offset: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores and closeness, and hits that follow the curve."""
    rng = np.random.default_rng(0)
    scores, near = rng.uniform(0.02, 0.98, count), rng.integers(0, 2, count).astype(float)
    z = slope * np.log(scores / (1 - scores)) + border * near + offset
    return scores, near, (rng.random(count) < 1 / (1 + np.exp(-z))).astype(int)


def test_a_curve_is_found_again() -> None:
    fitted = fit_curve(*drawn(20000, slope=1.5, border=-2.0, offset=0.4))
    np.testing.assert_allclose(fitted, (1.5, -2.0, 0.4), atol=0.1)


def test_a_few_boxes_without_fault_do_not_make_a_step() -> None:
    scores, near = np.array([0.9, 0.95, 0.2, 0.1]), np.array([0.0, 0, 1, 1])
    slope, border, _ = fit_curve(scores, near, np.array([1, 1, 0, 0]))
    assert 1 < slope < 3
    assert -2 < border < 0


def test_each_class_has_its_own_curve_and_an_unfitted_one_keeps_its_score() -> None:
    curve = BorderCurve(2)
    scores, near, hits = drawn(4000, slope=1.0, border=-3.0, offset=0.0)
    assert curve.fit(1, scores, near, hits)
    told = curve(torch.tensor([[[0.3, 0.7, 0.7]] * 2]), torch.tensor([[0.0, 0.0, 1.0]]))[0]
    torch.testing.assert_close(told[0], torch.tensor([0.3, 0.7, 0.7]))
    assert told[1, 1].item() == pytest.approx(0.7, abs=0.03)
    assert told[1, 2].item() == pytest.approx(1 / (1 + np.exp(3) * 3 / 7), abs=0.03)
    assert torch.isfinite(curve(torch.tensor([[[0.0, 1.0]] * 2]), torch.zeros(1, 2))).all()


def test_hits_alone_misses_alone_and_a_worthless_score_leave_the_order_as_it_was() -> None:
    curve = BorderCurve(1)
    scores, near = np.linspace(0.05, 0.95, 40), np.zeros(40)
    assert not curve.fit(0, scores, near, np.ones(40, int))
    assert not curve.fit(0, scores, near, np.zeros(40, int))
    assert curve.slope.item() == 1
    # Against the scores: the curve would fall.
    assert curve.fit(0, np.tile(scores, 20), np.tile(near, 20), np.tile((scores < 0.5).astype(int), 20))
    assert curve.slope.item() == pytest.approx(MIN_SLOPE)
