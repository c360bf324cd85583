"""Boxes: around a mask, their sizes, intersection and IoU."""

from __future__ import annotations

import numpy as np
import pytest

from medzoo.boxes import bounding_box, box_intersection, box_iou, box_size, mask_to_box


def test_a_bounding_box_holds_every_nonzero_value_and_no_empty_border() -> None:
    mask = np.zeros((6, 7, 8), np.uint8)
    mask[1, 2, 3], mask[4, 5, 3] = 1, 200
    assert bounding_box(mask) == (slice(1, 5), slice(2, 6), slice(3, 4))
    assert bounding_box(mask, margin=2) == (slice(0, 6), slice(0, 7), slice(1, 6))
    assert bounding_box(mask, margin=[0, 1, 9]) == (slice(1, 5), slice(1, 7), slice(0, 8))
    assert bounding_box(np.zeros((3, 4), bool)) is None


@pytest.mark.parametrize("dtype", [bool, np.float32, np.int16])
def test_a_box_around_a_mask_is_half_open_and_x_comes_first_on_a_picture(dtype: type) -> None:
    mask = np.zeros((6, 9), dtype)
    mask[1:3, 4:8] = 1
    box = mask_to_box(mask)
    assert box is not None
    assert box.tolist() == [4, 1, 8, 3]
    volume = mask_to_box(mask[..., None])
    assert volume is not None
    assert volume.tolist() == [1, 4, 0, 3, 8, 1]
    assert mask_to_box(np.zeros((2, 2, 2), dtype)) is None


def test_iou_of_boxes_that_are_apart_touch_overlap_and_coincide() -> None:
    one = np.array([[0.0, 0, 4, 2]])
    others = np.array([[5.0, 0, 9, 2], [4, 0, 8, 2], [2, 0, 6, 2], [0, 0, 4, 2], [1, 1, 1, 1], [3, 1, 2, 0]])
    assert box_size(others).tolist() == [8, 8, 8, 8, 0, 0]
    assert box_intersection(one, others).tolist() == [[0, 0, 4, 8, 0, 0]]
    assert box_iou(one, others)[0].tolist() == pytest.approx([0, 0, 1 / 3, 1, 0, 0])
    assert box_iou(others[4:], others[4:]).tolist() == [[0, 0], [0, 0]]
    assert box_iou(np.array([[0.0, 0, 0, 2, 2, 2]]), np.array([[1.0, 1, 1, 3, 3, 3]])) == pytest.approx(1 / 15)
    assert box_iou(one, np.zeros((0, 4))).shape == (1, 0)
