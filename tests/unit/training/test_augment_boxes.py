"""Boxes stay tight on what they hold through every change, and go with what leaves the picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from medzoo.augment.augmentation import Augmentation, augment_labelled, check_augmentations
from medzoo.augment.ops.affine import Affine
from medzoo.augment.ops.blur import Blur
from medzoo.augment.ops.flip import Flip
from medzoo.augment.ops.gamma import Gamma
from medzoo.augment.ops.intensity import Intensity
from medzoo.augment.ops.speckle import Speckle
from medzoo.errors import UserError
from medzoo.types import Array
from tests.unit.training.scenes_toys import rectangle

BOX = np.array([[30, 20, 62, 44]], np.float32)


def augmented(*given: Any, **options: Any) -> tuple[torch.Tensor, Array, Array]:
    found = augment_labelled(*given, **options)
    return found.image, found.boxes, found.labels


def bright(image: torch.Tensor) -> Array:
    """The box around values of more than half of the rectangle's."""
    rows, columns = np.nonzero(image[0].numpy() > 110)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], float)


@pytest.mark.parametrize(
    "change",
    [
        Flip(axis="x", share=1),
        Flip(axis="y", share=1),
        Affine(rotate=0, translate=0.1, scale=0.25, stretch=0.3),
        Affine(rotate=0, translate=0.0, scale=0.4),
        Intensity(contrast=0.1, brightness=0.1),
        Gamma(strength=0.2),
        Blur(sigma=1.5, share=1),
        Speckle(sigma=0.05, share=1),
    ],
)
def test_a_box_stays_tight(change: Augmentation) -> None:
    image = torch.from_numpy(rectangle(96, 112, BOX).astype(np.float32))
    for seed in range(8):
        changed, boxes, kept = augmented(image, BOX, np.zeros(1), [change], np.random.default_rng(seed))
        assert kept.tolist() == [0]
        np.testing.assert_allclose(boxes[0], bright(changed), atol=1.0)
    if isinstance(change, Affine | Flip):
        assert np.abs(boxes[0] - BOX[0]).max() > 1, "the change did not move the box"


def test_boxes_are_clipped_and_dropped_where_little_is_left() -> None:
    # A shift of exactly a quarter of the width (56 of 224) to one side or the other.
    image = torch.zeros(1, 96, 224)
    boxes = np.array([[0, 10, 40, 50], [40, 10, 80, 50], [50, 10, 100, 50], [184, 10, 224, 50]], np.float32)
    left, right = 0, 0
    for seed in range(40):
        _, moved, kept = augmented(
            image, boxes, np.arange(4), [Affine(rotate=0, translate=0.25, scale=0)], np.random.default_rng(seed)
        )
        theta = Affine(rotate=0, translate=0.25, scale=0).sample(image, _after_share(seed))
        shift = -theta[0, 2] / 2 * 224
        drop = np.clip(boxes[:, [0, 2]] + shift, 0, 224)
        seen = (drop[:, 1] - drop[:, 0]) / (boxes[:, 2] - boxes[:, 0])
        vertical = np.clip(boxes[:, [1, 3]] - theta[1, 2] / 2 * 96, 0, 96)
        seen *= (vertical[:, 1] - vertical[:, 0]) / 40
        assert kept.tolist() == np.flatnonzero(seen >= 0.4).tolist()
        assert (moved >= 0).all()
        assert (moved[:, 2] <= 224).all()
        left, right = left + (0 not in kept), right + (3 not in kept)
    assert left
    assert right


def _after_share(seed: int) -> np.random.Generator:
    rng = np.random.default_rng(seed)
    rng.random()
    return rng


def test_a_turn_is_refused_because_boxes_would_be_loose() -> None:
    check_augmentations([Affine(rotate=0), Flip()], boxes=True)
    with pytest.raises(UserError, match=r"train\.augment\[1\]\.rotate.*"):
        check_augmentations([Flip(), Affine(rotate=5)], boxes=True)


def test_a_picture_without_objects_passes() -> None:
    image, boxes, kept = augmented(
        torch.ones(1, 20, 30),
        np.zeros((0, 4), np.float32),
        np.zeros(0, np.int64),
        [Flip(share=1), Affine(rotate=0)],
        np.random.default_rng(0),
    )
    assert image.shape == (1, 20, 30)
    assert boxes.shape == (0, 4)
    assert not len(kept)
