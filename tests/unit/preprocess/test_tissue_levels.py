from __future__ import annotations

import numpy as np
import pytest

from medzoo.errors import UserError
from medzoo.imaging.tissue_levels import tissue_levels
from medzoo.preprocess.steps import apply_steps, parse_steps
from medzoo.types import Array, Image

STEPS = parse_steps([{"op": "tissue-levels"}])


def brain(*, fluid: float = 25, grey: float = 70, white: float = 100) -> tuple[Array, Array]:
    """Folded shells of the three tissues, 2 % noise: scan (72, 80, 64) and tissues (0 outside)."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in (72, 80, 64)], indexing="ij"))
    radius = np.sqrt((grid**2).sum(0)) + 0.06 * np.sin(9 * grid).prod(0)
    tissue = np.digitize(-radius, [-0.95, -0.9, -0.7])
    tissue[radius < 0.15] = 1
    noise = np.random.default_rng(0).normal(0, 2, radius.shape)
    scan = np.array([0, fluid, grey, white])[tissue] + noise
    return np.where(tissue > 0, np.maximum(scan, 1), 0).astype(np.float32), tissue


def uneven(shape: tuple[int, ...]) -> Array:
    """A field between 0.7 and 1.5."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    return np.exp(0.25 * (grid[0] + grid[1] * grid[2])).astype(np.float32)


def levelled(scan: Array, spacing: float = 1.5) -> Array:
    image = apply_steps(Image(scan[None], np.diag([spacing] * 3 + [1.0])), STEPS).image
    return image.array[0]


@pytest.mark.parametrize("grey", [60, 80])
def test_grey_matter_lies_at_zero_and_white_at_one(grey: float) -> None:
    scan, tissue = brain(grey=grey)
    out = levelled(scan)
    assert out[tissue == 2].mean() == pytest.approx(0, abs=0.08)
    assert out[tissue == 3].mean() == pytest.approx(1, abs=0.04)
    assert out[tissue == 1].mean() < -0.5
    assert (out[tissue == 0] == 0).all()
    assert (out[tissue > 0] != 0).all()


def test_the_bias_field_is_taken_out() -> None:
    scan, tissue = brain()
    field = uneven(scan.shape)
    before, after = (scan * field)[tissue == 3], levelled(scan * field)[tissue == 3]
    assert before.std() / before.mean() > 0.08
    # In units of what lies between grey and white, which was 0.3 of white.
    assert after.std() * 0.3 < 0.7 * before.std() / before.mean()
    assert tissue_levels(scan * field, (1.5,) * 3).field.max() > 1.08


def test_the_scale_of_the_intensities_does_not_matter() -> None:
    scan, _ = brain()
    assert np.allclose(levelled(scan), levelled(scan * 37.5), atol=2e-3)


def test_a_few_slices_and_two_values_are_enough() -> None:
    scan, _ = brain()
    assert np.isfinite(levelled(scan[:, :, 30:31])).all()
    out = levelled(np.where(np.arange(64).reshape(4, 4, 4) % 2, 5.0, 9.0).astype(np.float32))
    assert np.isfinite(out).all()


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_a_constant_image_has_no_levels(value: float) -> None:
    with pytest.raises(UserError, match="no tissue levels"):
        levelled(np.full((8, 8, 8), value, np.float32))


def test_zeros_that_the_brain_surrounds_are_dark_fluid_and_not_the_outside() -> None:
    scan, tissue = brain()
    middle = np.zeros(scan.shape, bool)
    middle[26:46, 30:50, 22:42] = tissue[26:46, 30:50, 22:42] == 1
    # Some of the fluid in the middle fell to exactly zero, as in scans stored as whole numbers.
    lost = middle & (np.random.default_rng(1).random(scan.shape) < 0.6)
    assert lost.sum() > 200
    out = levelled(np.where(lost, 0, scan))
    assert (out[lost] < -0.5).all()
    assert (out[tissue == 0] == 0).all()
