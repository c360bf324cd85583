from __future__ import annotations

import numpy as np
import pytest

from medzoo.preprocess.steps import apply_steps, parse_steps
from medzoo.runtime.decode.resample import is_resampled, resample_labels
from medzoo.types import Array, Image


def ball(shape: tuple[int, int, int], spacing: Array, radius: float) -> Array:
    """Distance from the surface of a ball in the middle, mm, negative inside."""
    grid = np.stack(np.meshgrid(*[(np.arange(n) + 0.5 - n / 2) * s for n, s in zip(shape, spacing, strict=True)],
                                indexing="ij"))  # fmt: skip
    return np.sqrt((grid**2).sum(0)) - radius


@pytest.mark.parametrize("spacing", [(0.7, 0.7, 0.7), (0.5, 1.0, 0.8), (1.4, 1.0, 1.0)])
def test_borders_come_back_to_the_source_nearer_than_by_its_nearest_voxel(spacing: tuple[float, float, float]) -> None:
    shape = tuple(round(30 / s) for s in spacing)
    source = Image(np.ones((1, *shape), np.float32), np.diag([*spacing, 1.0]))
    state = apply_steps(source, parse_steps([{"op": "orient", "to": "LPS"}, {"op": "spacing", "mm": 1.0}]))
    prepared, transform = state.image, state.transform
    assert is_resampled(transform)
    truth = ball(shape, np.array(spacing), 9) < 0
    far = ball(prepared.shape, np.array(prepared.spacing), 9)
    one = np.clip(0.5 - far, 0, 1)  # the share of a voxel within the ball, nearly
    maps = np.rint(255 * np.stack([1 - one, one])).astype(np.uint8)

    def dice(mask: Array) -> float:
        return float(2 * (mask.astype(bool) & truth).sum() / (mask.sum() + truth.sum()))

    soft = resample_labels(maps, transform)
    assert soft.shape == truth.shape
    assert dice(soft) > 0.985
    assert dice(soft) > dice(transform.mask_to_source((one > 0.5).astype(np.uint8)))


def test_labels_stay_within_what_is_inside_and_reach_its_edge() -> None:
    source = Image(np.ones((1, 20, 20, 40), np.float32), np.diag([1.0, 1.0, 0.5, 1.0]))
    state = apply_steps(source, parse_steps([{"op": "spacing", "mm": 1.0}]))
    prepared, transform = state.image, state.transform
    maps = np.zeros((2, *prepared.shape), np.uint8)
    maps[1, :, :10] = 255
    inside = np.zeros((20, 20, 40), bool)
    inside[:, :10] = True
    labels = resample_labels(maps, transform, inside=inside)
    assert np.array_equal(labels == 1, inside)


def test_other_orders_of_the_axes_are_no_other_grid() -> None:
    image = Image(np.ones((1, 4, 5, 6), np.float32), np.diag([1.0, -1.0, 1.0, 1.0]))
    transform = apply_steps(image, parse_steps([{"op": "orient", "to": "SPL"}, {"op": "spacing", "mm": 1.0}])).transform
    assert not is_resampled(transform)
