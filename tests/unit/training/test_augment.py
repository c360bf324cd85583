"""Random changes: what they may not change, and that they do change the rest."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medzoo import registry
from medzoo.augment.augmentation import Augmentation, augment
from medzoo.augment.ops.affine import Affine
from medzoo.augment.ops.blur import Blur
from medzoo.augment.ops.cutout import Cutout
from medzoo.augment.ops.flip import Flip
from medzoo.augment.ops.intensity import Intensity

# Those that need no objects.
CHANGES = [op for op, kind in registry.entries("augment").items() if not kind.adds_objects]


def picture(height: int = 40, width: int = 60) -> torch.Tensor:
    """Smooth values from 20 to 220 with a band of exact zeros below."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    image = 120 + 100 * torch.sin(3 * x + 2 * y)
    image[-8:] = 0
    return image[None]


def draw(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("op", CHANGES)
def test_every_change_changes_keeps_its_shape_and_repeats(op: str) -> None:
    change: Augmentation = registry.entry("augment", op)(share=1)
    image = picture()
    kept = image.clone()
    once = augment(image, [change], draw(1))
    assert once.shape == image.shape
    assert once.dtype == torch.float32
    assert torch.equal(image, kept)
    # A mirror leaves half of the images as they are.
    assert not torch.equal(once, image) or op == "mirror"
    assert torch.equal(once, augment(image, [change], draw(1)))
    assert not torch.equal(once, augment(image, [change], draw(2))) or op in ("flip", "mirror")
    assert torch.isfinite(once).all()
    assert torch.equal(augment(image, [change.model_copy(update={"share": 0})], draw(1)), image)


@pytest.mark.parametrize("op", CHANGES)
def test_sixteen_bit_pictures_are_changed_as_eight_bit_ones(op: str) -> None:
    change: Augmentation = registry.entry("augment", op)(share=1)
    small, large = (augment(picture() * factor, [change], draw(5)) for factor in (1, 257))
    assert torch.allclose(small * 257, large, rtol=1e-4, atol=0.5)


@pytest.mark.parametrize("op", ["intensity", "gamma", "speckle"])
def test_what_lies_beside_the_picture_stays_zero(op: str) -> None:
    change: Augmentation = registry.entry("augment", op)(share=1)
    for seed in range(5):
        assert (augment(picture(), [change], draw(seed))[:, -8:] == 0).all()


def test_a_turn_is_a_turn_on_a_canvas_that_is_not_square() -> None:
    y, x = torch.meshgrid(torch.arange(48) - 23.5, torch.arange(80) - 39.5, indexing="ij")
    disc = torch.sigmoid(0.5 * (15 - (x**2 + y**2).sqrt()))[None] * 100
    turned = Affine(rotate=180, translate=0, scale=0).apply(disc, draw(3))
    assert torch.allclose(turned, disc, atol=1.5)
    bar = ((x.abs() < 3) & (y.abs() < 15)).float()[None] * 100
    moved = Affine(rotate=180, translate=0, scale=0).apply(bar, draw(3))
    assert float(moved.sum()) == pytest.approx(float(bar.sum()), rel=0.03)
    assert (moved - bar).abs().max() > 50


def test_scale_and_shift_stay_within_their_limits() -> None:
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    blob = torch.exp(-((x - 32) ** 2 + (y - 32) ** 2) / 50)[None]
    for seed in range(10):
        moved = Affine(rotate=0, translate=0.1, scale=0).apply(blob, draw(seed))
        centre = [float((moved[0] * axis).sum() / moved.sum()) for axis in (x, y)]
        assert max(abs(c - 32) for c in centre) <= 6.5
        grown = Affine(rotate=0, translate=0, scale=0.2).apply(blob, draw(seed))
        assert 0.8**2 - 0.02 <= float(grown.sum() / blob.sum()) <= 1.2**2 + 0.02


def test_flip_is_its_own_inverse_and_blur_keeps_the_mean() -> None:
    image = picture()
    flip = Flip(axis="y", share=1)
    assert torch.equal(flip.apply(flip.apply(image, draw()), draw()), image)
    inner = picture()[:, :32] - 120
    blurred = Blur(share=1).apply(inner, draw())
    assert blurred.var() < inner.var()
    assert float(blurred.mean()) == pytest.approx(float(inner.mean()), abs=3)


def test_cutout_takes_a_rectangle_of_the_stated_size() -> None:
    for seed in range(10):
        gone = Cutout(side=0.5, share=1).apply(torch.ones(1, 40, 60), draw(seed))[0] == 0
        rows, columns = gone.any(1).sum(), gone.any(0).sum()
        assert int(gone.sum()) == int(rows * columns)
        assert rows <= 20
        assert columns <= 30


def test_a_picture_of_zeros_survives() -> None:
    image = torch.zeros(1, 16, 16)
    for op in CHANGES:
        assert torch.isfinite(registry.entry("augment", op)(share=1).apply(image, draw())).all()
    assert torch.equal(Intensity().apply(image, draw()), image)
