"""Drawn blobs: bright, boxed tightly on the middle slice, apart from other objects, inside what is covered."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from medzoo.augment.augmentation import augment_labelled
from medzoo.augment.ops.blobs import APART, Blobs
from medzoo.types import Array


def augmented(*given: Any, **options: Any) -> tuple[torch.Tensor, Array, Array]:
    found = augment_labelled(*given, **options)
    return found.image, found.boxes, found.labels


def scan(*, seed: int = 0) -> torch.Tensor:
    """Three slices of noise about 10 in the left two thirds, zeros beside."""
    image = torch.zeros(3, 96, 120)
    image[:, :, :80] = 10 + torch.randn(3, 96, 80, generator=torch.Generator().manual_seed(seed))
    return image


def test_each_box_holds_a_bright_blob_and_nothing_else_changed_much() -> None:
    image, change = scan(), Blobs(count=3, radius=(4, 9), contrast=(6, 9), share=1)
    seen = 0
    for seed in range(12):
        changed, boxes = change.add(image, np.zeros((0, 4), np.float32), np.random.default_rng(seed))
        difference = (changed - image)[1].numpy()
        outside = np.ones(difference.shape, bool)
        for x0, y0, x1, y1 in boxes.astype(int):
            inner = difference[y0:y1, x0:x1]
            assert inner.max() > 3
            # Every side of the box is reached by the blob.
            assert all(line.max() > 0.5 for line in (inner[0], inner[-1], inner[:, 0], inner[:, -1]))
            outside[max(y0 - 5, 0) : y1 + 5, max(x0 - 5, 0) : x1 + 5] = False
            seen += 1
        assert np.abs(difference[outside]).max() < 0.7
        assert not changed[:, :, 80:].any(), "nothing is drawn beside the scan"
    assert seen > 10


def test_blobs_keep_apart_and_away_from_objects() -> None:
    objects = np.array([[20, 20, 50, 70]], np.float32)
    for seed in range(12):
        _, made = Blobs(count=6, radius=(3, 12), share=1).add(scan(), objects, np.random.default_rng(seed))
        boxes = np.concatenate([objects, made])
        for k, box in enumerate(boxes):
            others = np.delete(boxes, k, axis=0)
            near = (others[:, :2] < box[2:] + APART) & (others[:, 2:] > box[:2] - APART)
            assert not near.all(axis=1).any()


def test_they_join_a_pictures_objects_as_the_first_label_and_repeat_by_seed() -> None:
    objects, labels = np.array([[5, 5, 15, 15]], np.float32), np.array([1])
    change = Blobs(count=3, share=1)
    image, boxes, kinds = augmented(scan(), objects, labels, [change], np.random.default_rng(3))
    assert len(boxes) > 1
    assert kinds.tolist() == [1] + [0] * (len(boxes) - 1)
    again = augmented(scan(), objects, labels, [change], np.random.default_rng(3))
    assert torch.equal(again[0], image)
    np.testing.assert_array_equal(again[1], boxes)


def test_an_empty_slice_stays_empty() -> None:
    image = torch.zeros(3, 40, 40)
    changed, boxes = Blobs(share=1).add(image, np.zeros((0, 4), np.float32), np.random.default_rng(0))
    assert not changed.any()
    assert boxes.shape == (0, 4)
