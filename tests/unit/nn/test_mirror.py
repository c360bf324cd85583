"""A mirrored picture stays where it was, and boxes and deltas go with it."""

from __future__ import annotations

import pytest
import torch

from medzoo.nn.detection.boxes import Mirror, decode, encode, mirror_boxes, mirror_deltas, mirror_picture

EXTENT = torch.tensor([5.0, 3.0])  # width, height


@pytest.mark.parametrize(("way", "dims"), [("x", [3]), ("y", [2]), ("xy", [2, 3])])
def test_the_picture_alone_is_mirrored_not_the_canvas_beside_it(way: Mirror, dims: list[int]) -> None:
    canvas = torch.zeros(2, 1, 4, 8)
    canvas[:, :, :3, :5] = torch.rand(2, 1, 3, 5, generator=torch.Generator().manual_seed(0))
    mirrored = mirror_picture(canvas, EXTENT, way)
    assert torch.equal(mirrored[:, :, :3, :5], canvas[:, :, :3, :5].flip(dims))
    assert not mirrored[:, :, 3:].any()
    assert not mirrored[:, :, :, 5:].any()
    assert torch.equal(mirror_picture(mirrored, EXTENT, way), canvas)


@pytest.mark.parametrize(("way", "box"), [("x", [2, 0, 4, 2]), ("y", [1, 1, 3, 3]), ("xy", [2, 1, 4, 3])])
def test_boxes_lie_on_the_same_pixels(way: Mirror, box: list[int]) -> None:
    original = torch.tensor([[1.0, 0, 3, 2]])
    assert mirror_boxes(original, EXTENT, way).tolist() == [box]
    assert torch.equal(mirror_boxes(mirror_boxes(original, EXTENT, way), EXTENT, way), original)


@pytest.mark.parametrize("way", ["x", "y", "xy"])
def test_deltas_move_a_mirrored_region_to_the_mirrored_box(way: Mirror) -> None:
    region, box = torch.tensor([[0.0, 0, 3, 2]]), torch.tensor([[1.0, 0.5, 4, 3]])
    deltas = mirror_deltas(encode(box, region), way)
    moved = decode(deltas, mirror_boxes(region, EXTENT, way))
    torch.testing.assert_close(moved, mirror_boxes(box, EXTENT, way))
