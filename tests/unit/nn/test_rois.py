"""Region features read from the atlas equal RoIAlign on each level."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import roi_align

from medzoo.nn.detection.rois import pool_regions, region_levels, stack_levels

STRIDES = (4, 8, 16)


def regions(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    corners = torch.rand(2, count, 2, 2, generator=generator).sort(dim=2).values
    boxes = corners.reshape(2, count, 4) * torch.tensor([640.0, 512.0, 640.0, 512.0])
    edges = torch.tensor([[0.0, 0, 640, 512], [0, 0, 3, 3], [639, 511, 640, 512], [0, 500, 640, 512], [5, 5, 5, 5]])
    return torch.cat([boxes, edges.expand(2, -1, -1)], dim=1)


def test_levels_follow_the_size() -> None:
    sides = torch.tensor([1.0, 111.9, 112.0, 223.0, 224.0, 900.0])
    boxes = torch.stack([torch.zeros(6), torch.zeros(6), sides, sides], dim=1)
    assert region_levels(boxes, STRIDES).tolist() == [0, 0, 1, 1, 2, 2]


def test_pooling_equals_roi_align_on_each_regions_own_level() -> None:
    generator = torch.Generator().manual_seed(1)
    features = [torch.randn(2, 5, 512 // stride, 640 // stride, generator=generator) for stride in STRIDES]
    boxes = regions(40)
    pooled = pool_regions(features, boxes, strides=STRIDES, side=7).unflatten(0, (2, -1))
    levels = region_levels(boxes, STRIDES)
    assert set(levels.flatten().tolist()) == {0, 1, 2}
    for image in range(2):
        for place in range(boxes.shape[1]):
            level = int(levels[image, place])
            expected = roi_align(
                features[level][image : image + 1],
                [boxes[image, place : place + 1]],
                output_size=7,
                spatial_scale=1 / STRIDES[level],
                sampling_ratio=2,
                aligned=True,
            )
            torch.testing.assert_close(pooled[image, place], expected[0], atol=1e-3, rtol=0)


@pytest.mark.parametrize("levels", [1, 3])
def test_atlas_rows_point_at_each_levels_first_row(levels: int) -> None:
    features = [torch.randn(1, 2, 16 >> i, 8 >> i) for i in range(levels)]
    stitched, rows = stack_levels(features)
    for level, row in zip(features, rows, strict=True):
        height, width = level.shape[2:]
        assert torch.equal(stitched[:, :, row : row + height, 1 : 1 + width], level)
