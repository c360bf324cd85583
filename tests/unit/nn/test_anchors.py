"""Anchor grids: order, centres, sizes."""

from __future__ import annotations

import torch

from medzoo.nn.detection.boxes import level_anchors, pyramid_anchors


def test_level_is_centred_on_cells_row_by_row() -> None:
    anchors = level_anchors((2, 3), stride=8, sizes=[4.0, 16.0], ratios=[1.0])
    assert anchors.shape == (12, 4)
    assert anchors[0].tolist() == [2, 2, 6, 6]
    assert anchors[1].tolist() == [-4, -4, 12, 12]
    assert anchors[2].tolist() == [10, 2, 14, 6]
    assert anchors[6].tolist() == [2, 10, 6, 14]


def test_ratio_is_height_over_width_at_equal_area() -> None:
    anchors = level_anchors((1, 1), stride=32, sizes=[20.0], ratios=[0.25, 1.0, 4.0])
    sides = anchors[:, 2:] - anchors[:, :2]
    torch.testing.assert_close(sides, torch.tensor([[40.0, 10.0], [20.0, 20.0], [10.0, 40.0]]))


def test_pyramid_covers_a_canvas_that_is_not_square() -> None:
    levels = pyramid_anchors((64, 96), strides=[8, 16], sizes=[[8.0], [24.0]], ratios=[1.0, 2.0])
    assert [len(level) for level in levels] == [8 * 12 * 2, 4 * 6 * 2]
    centres = (levels[1][:, :2] + levels[1][:, 2:]) / 2
    assert centres.max(dim=0).values.tolist() == [88, 56]
