"""Augmentations of images with label maps: labels move with the image, in any number of axes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medzoo import registry
from medzoo.augment.augmentation import OUTSIDE, Augmentation, augment_with_labels, check_label_maps
from medzoo.augment.ops.affine import Affine
from medzoo.augment.ops.blur import Blur
from medzoo.augment.ops.low_resolution import LowResolution
from medzoo.augment.ops.mirror import Mirror
from medzoo.augment.ops.noise import Noise
from medzoo.errors import UserError

VOLUME_OPS = [op for op, kind in registry.entries("augment").items() if 3 in kind.dims]


def draw(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def scene(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A bright ellipsoid off the middle of smooth values, and the label map that marks it."""
    grid = np.indices(shape) - np.array(shape).reshape(-1, *[1] * len(shape)) * 0.4
    inside = (grid / (np.array(shape).reshape(-1, *[1] * len(shape)) * 0.2)) ** 2
    label = (inside.sum(0) < 1).astype(np.uint8)
    image = 50 + 100 * label + 3 * np.sin(grid.sum(0) / 3)
    return torch.from_numpy(image[None].astype(np.float32)), torch.from_numpy(label)


def test_there_are_volume_augmentations_of_every_kind() -> None:
    assert {"affine", "blur", "gamma", "intensity", "low-resolution", "mirror", "noise"} <= set(VOLUME_OPS)


@pytest.mark.parametrize("shape", [(24, 30, 20), (33, 16, 40)])
@pytest.mark.parametrize("op", VOLUME_OPS)
def test_a_volume_is_changed_with_its_labels_and_repeats(op: str, shape: tuple[int, ...]) -> None:
    change: Augmentation = registry.entry("augment", op)(share=1)
    image, labels = scene(*shape)
    kept = image.clone(), labels.clone()
    results = [augment_with_labels(image, labels, [change], draw(seed)) for seed in (1, 1, 2, 3, 4)]
    for one, map_ in results:
        assert one.shape == image.shape
        assert one.dtype == torch.float32
        assert map_.shape == labels.shape
        assert map_.dtype == torch.uint8
        assert torch.isfinite(one).all()
        # The object stays where the label says: bright inside, dark outside.
        inside, outside = one[0][map_ == 1], one[0][map_ == 0]
        assert float(inside.median()) > float(outside.median()) + 20
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert not all(torch.equal(one, image) for one, _ in results)
    assert torch.equal(image, kept[0])
    assert torch.equal(labels, kept[1])


@pytest.mark.parametrize("shape", [(40, 40, 40), (20, 48, 32), (48, 40)])
def test_labels_turn_with_the_image_and_what_comes_from_outside_is_not_scored(shape: tuple[int, ...]) -> None:
    image, labels = scene(*shape)
    change = Affine(rotate=30, translate=0.3, scale=0.2, stretch=0.2)
    outside = 0
    for seed in range(6):
        moved, map_ = augment_with_labels(image, labels, [change], draw(seed))
        assert set(np.unique(map_)) <= {0, 1, OUTSIDE}
        bright = moved[0] > 100
        scored = map_ != OUTSIDE
        union = (bright | (map_ == 1))[scored].sum()
        assert float((bright & (map_ == 1))[scored].sum()) > 0.75 * float(union)
        assert (moved[0][map_ == OUTSIDE] < 90).all()
        outside += int((map_ == OUTSIDE).sum())
    assert outside > 0


@pytest.mark.parametrize("spacing", [(3.0, 1.0, 1.0), (1.0, 1.0, 4.0), (1.0, 2.0, 1.0)])
def test_a_rotation_of_coarse_voxels_is_one_in_millimetres(spacing: tuple[float, float, float]) -> None:
    """A ball in millimetres stays the same ball about the middle; without the spacing it would not."""
    shape = tuple(round(60 / side) for side in spacing)
    middle = (np.array(shape) - 1) / 2
    places = (np.indices(shape) - middle.reshape(3, 1, 1, 1)) * np.array(spacing).reshape(3, 1, 1, 1)
    ball = torch.from_numpy(((places**2).sum(0) < 20**2).astype(np.uint8))

    def kept(change: Affine) -> float:
        scores = []
        for seed in range(3):
            _, turned = change.apply_with_labels(ball[None].float(), ball, draw(seed))
            scores.append(2 * float(((turned == 1) & (ball == 1)).sum()) / float((turned == 1).sum() + ball.sum()))
        return min(scores)

    assert kept(Affine(rotate=80, translate=0, scale=0, spacing=spacing)) > 0.93
    assert kept(Affine(rotate=80, translate=0, scale=0)) < 0.9


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_nothing_changes_along_the_axis_of_thick_slices(axis: int) -> None:
    """A ramp along the axis alone is the same after any turn and scale, and a marked slice stays one slice."""
    size = (20, 24, 22)
    ramp = np.indices(size)[axis].astype(np.float32) + 1
    change = Affine(rotate=80, scale=0.3, stretch=0.3, translate=0.1, across=axis)
    labels = torch.from_numpy((ramp == 9).astype(np.uint8))
    image, moved = change.apply_with_labels(torch.from_numpy(ramp[None]), labels, draw(3))
    inside = image[0] > 0
    middle = moved != OUTSIDE
    assert 0.3 < float(middle.float().mean()) < 1
    kept = inside & middle
    kept &= torch.from_numpy(np.abs(image[0].numpy() - ramp) < 0.5)
    assert float((kept.sum() / middle.sum()).detach()) > 0.9
    assert torch.equal(moved[middle] == 1, torch.from_numpy(ramp == 9)[middle])
    # The others do change: an object in the plane moves.
    one, mark = scene(*size)
    assert not torch.equal(change.apply_with_labels(one, mark, draw(3))[1], mark)


def test_mirrors_reverse_the_chosen_axes_alone_and_all_their_combinations_occur() -> None:
    image, labels = scene(8, 10, 12)
    seen = set()
    for seed in range(40):
        one, map_ = Mirror(axes=(0, 2)).apply_with_labels(image, labels, draw(seed))
        ways = [w for w in ((), (0,), (2,), (0, 2)) if torch.equal(map_, labels.flip(list(w)))]
        assert len(ways) == 1
        assert torch.equal(one, image.flip([1 + axis for axis in ways[0]]))
        seen.add(ways[0])
    assert len(seen) == 4


@pytest.mark.parametrize("change", [Blur(sigma=6, share=1), LowResolution(factor=6, share=1)])
def test_detail_is_lost_and_the_mean_stays(change: Augmentation) -> None:
    image = torch.from_numpy(draw().normal(100, 10, (1, 24, 20, 28)).astype(np.float32))
    smooth = change.apply(image, draw(2))
    assert float(smooth.std()) < 0.8 * float(image.std())
    assert float(smooth.mean()) == pytest.approx(100, abs=1)


def test_noise_has_at_most_its_standard_deviation_and_zeros_stay() -> None:
    image = torch.from_numpy(draw().normal(0, 7, (1, 24, 20, 28)).astype(np.float32))
    image[:, :4] = 0
    for seed in range(4):
        added = Noise(sigma=0.2).apply(image, draw(seed)) - image
        assert float(added.std()) <= 0.2 * 7 * 1.05
        assert not added[:, :4].any()


@pytest.mark.parametrize("op", ["gamma", "low-resolution", "intensity", "noise"])
def test_the_padding_of_z_scores_stays_zero(op: str) -> None:
    image = torch.from_numpy(draw().normal(0, 1, (1, 20, 20, 20)).astype(np.float32))
    image[:, -5:] = 0
    for seed in range(4):
        assert not registry.entry("augment", op)(share=1).apply(image, draw(seed))[:, -5:].any()


class _Old(Augmentation):
    """Of another package, from before label maps: moves boxes, knows no label maps."""

    op: str = "old"

    def apply_labelled(self, sample, rng, *, donors):  # type: ignore[no-untyped-def]
        return sample


@pytest.mark.parametrize(
    ("change", "dims", "words"),
    [
        (registry.entry("augment", "flip")(), 3, "does not take volumes"),
        (registry.entry("augment", "blobs")(), 2, "does not change label maps"),
        (_Old(), 2, "does not change label maps"),
        (Mirror(axes=(0, 2)), 2, "no axis 2"),
        (registry.entry("augment", "cutout")(), 3, "does not take volumes"),
    ],
)
def test_what_does_not_suit_label_maps_is_refused(change: Augmentation, dims: int, words: str) -> None:
    with pytest.raises(UserError, match=words) as refused:
        check_label_maps([Noise(), change], dims=dims)
    assert "train.augment[1]" in str(refused.value)
