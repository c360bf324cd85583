"""Masks of detections on the source's grid."""

from __future__ import annotations

import numpy as np
import pytest

from medzoo.imaging.instance_masks import InstanceMasks
from medzoo.types import Array, GridTransform, Image


def by_definition(patch: Array, box: Array, shape: tuple[int, int], inverse: Array) -> Array:
    """The rule pixel by pixel."""
    mask, side = np.zeros(shape, bool), len(patch)
    x0, y0, x1, y1 = box
    for row in range(shape[0]):
        for column in range(shape[1]):
            y, x = (inverse @ [row, column, 1])[:2] + 0.5
            if not (x0 <= x <= x1 and y0 <= y <= y1):
                continue
            u, v = ((np.array([y - y0, x - x0]) / [y1 - y0, x1 - x0]) * side - 0.5).clip(0, side - 1)
            i, j = int(min(u, side - 2)), int(min(v, side - 2))
            a, b = u - i, v - j
            top = patch[i, j] * (1 - b) + patch[i, j + 1] * b
            below = patch[i + 1, j] * (1 - b) + patch[i + 1, j + 1] * b
            mask[row, column] = top * (1 - a) + below * a >= 0.5
    return mask


def transforms() -> dict[str, GridTransform]:
    source = GridTransform.identity(Image(np.zeros((1, 30, 40)), None))
    turn = np.array([[np.cos(0.3), -np.sin(0.3), 4], [np.sin(0.3), np.cos(0.3), -3], [0, 0, 1]])
    return {
        "identity": source,
        "scaled": source.compose(np.array([[0.5, 0, -0.25], [0, 0.7, -0.15], [0, 0, 1]]), shape=(60, 57)),
        "mirrored": source.compose(np.array([[1, 0, 0], [0, -1, 39], [0, 0, 1]]), shape=(30, 40)),
        "transposed": source.compose(np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]]), shape=(40, 30)),
        "turned": source.compose(turn, shape=(30, 40)),
    }


@pytest.mark.parametrize("name", transforms())
def test_masks_are_pasted_as_defined(name: str) -> None:
    transform, rng = transforms()[name], np.random.default_rng(1)
    boxes = np.array([[3.2, 4.7, 20.1, 18.4], [-4, -3, 12.3, 9.25], [15, 10, 60, 50], [5, 5, 5.2, 5.3]])
    patches = rng.random((4, 7, 7)).astype(np.float32)
    masks = InstanceMasks(patches, boxes, transform)
    assert len(masks) == 4
    for index, mask in enumerate(masks):
        expected = by_definition(patches[index], boxes[index], (30, 40), transform.inverse)
        assert (mask != expected).sum() <= 1, index  # where rounding decides
    assert masks[0].any()


def test_holes_stay_and_a_full_mask_fills_its_box() -> None:
    patch = np.ones((1, 9, 9), np.float32)
    transform = GridTransform.identity(Image(np.zeros((1, 60, 60)), None))
    box = np.array([[10, 20, 37, 47]])
    assert InstanceMasks(patch, box, transform)[0][20:47, 10:37].all()
    assert InstanceMasks(patch, box, transform)[0].sum() == 27 * 27
    patch[0, 4, 4] = 0
    mask = InstanceMasks(patch, box, transform)[0]
    assert not mask[33, 23]
    assert mask[33, 12]


def test_the_surer_of_two_masks_has_what_they_share() -> None:
    transform = GridTransform.identity(Image(np.zeros((1, 20, 20)), None))
    masks = InstanceMasks(np.ones((2, 4, 4)), np.array([[0, 0, 10, 10], [5, 5, 15, 15]]), transform)
    numbers = masks.label_map()
    assert [(numbers == n).sum() for n in (0, 1, 2)] == [400 - 175, 100, 75]
    assert np.array_equal(masks[np.array([False, True])][0], masks[1])
    assert len(masks[:1]) == 1
