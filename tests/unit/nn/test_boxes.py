"""Box overlap and coding against worked vectors."""

from __future__ import annotations

import math

import pytest
import torch

from medzoo.nn.detection.boxes import MAX_LOG_CHANGE, clip, decode, encode, iou, large_enough


def test_overlap_of_two_squares_is_a_third() -> None:
    a, b = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[5.0, 0, 15, 10]])
    assert iou(a, b).item() == pytest.approx(1 / 3, abs=1e-7)
    assert iou(a, a).item() == 1.0


def test_overlap_of_apart_and_empty_boxes_is_zero_and_never_nan() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30], [5, 5, 5, 5]])
    overlap = iou(boxes, boxes)
    assert torch.equal(overlap.diagonal(), torch.tensor([1.0, 1.0, 0.0]))
    assert overlap[0, 1] == 0
    assert torch.isfinite(overlap).all()


def test_coding_vector_and_back() -> None:
    proposal, truth = torch.tensor([10.0, 10, 20, 20]), torch.tensor([12.0, 11, 22, 31])
    targets = encode(truth, proposal)
    torch.testing.assert_close(targets, torch.tensor([0.2, 0.6, 0.0, math.log(2)]))
    torch.testing.assert_close(decode(targets, proposal), truth)


def test_coding_returns_random_boxes_for_any_weights() -> None:
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(2, 50, 2, 2, generator=generator).sort(dim=2).values * 100
    corners[:, :, 1] += 1
    boxes, references = corners.reshape(2, 50, 4)
    weights = (10.0, 10.0, 5.0, 5.0)
    torch.testing.assert_close(
        decode(encode(boxes, references, weights=weights), references, weights=weights),
        boxes,
        atol=1e-3,
        rtol=0,
    )
    torch.testing.assert_close(encode(boxes, references, weights=weights)[:, 2:], encode(boxes, references)[:, 2:] * 5)


def test_decoding_limits_growth() -> None:
    box = decode(torch.tensor([0.0, 0, 1000, 1000]), torch.tensor([0.0, 0, 2, 2]))
    assert (box[2] - box[0]).item() == pytest.approx(2 * math.exp(MAX_LOG_CHANGE), rel=1e-6)


def test_clip_and_large_enough() -> None:
    boxes = clip(torch.tensor([[-5.0, -5, 5, 5], [90, 10, 120, 12], [200, 0, 210, 9]]), torch.tensor([100.0, 50.0]))
    assert boxes.tolist() == [[0, 0, 5, 5], [90, 10, 100, 12], [100, 0, 100, 9]]
    assert large_enough(boxes).tolist() == [True, True, False]
