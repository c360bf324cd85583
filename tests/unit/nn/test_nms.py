"""The fixed-shape suppression against torchvision's, in torch and in ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import torchvision
from torch import Tensor, nn

from medzoo.export.onnx_file import translations
from medzoo.nn.detection.nms import nms

IOU, FLOOR = 0.5, 0.05


class Suppress(nn.Module):
    def forward(self, boxes: Tensor, scores: Tensor) -> Tensor:
        return nms(boxes, scores, IOU, FLOOR)


@pytest.fixture(scope="module")
def session() -> Any:
    free = torch.export.Dim.DYNAMIC
    program = torch.onnx.export(
        Suppress().eval(),
        scene(2, 10),
        dynamo=True,
        verbose=False,
        dynamic_shapes=({0: free, 1: free}, {0: free, 1: free}),
        input_names=["boxes", "scores"],
        custom_translation_table=translations(),
    )
    assert program is not None
    return onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])


def scene(batch: int, count: int, *, spread: float = 30.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(batch, count, 2, generator=generator) * spread
    size = torch.rand(batch, count, 2, generator=generator) * 20
    return torch.cat([low, low + size], dim=2), torch.rand(batch, count, generator=generator)


CASES = {
    "crowded": scene(3, 200),
    "apart": scene(2, 40, spread=2000.0),
    "one box": scene(1, 1),
    "none above the floor": (scene(2, 30)[0], torch.full((2, 30), FLOOR)),
    "all the same box": (torch.tensor([[[3.0, 3, 9, 9]] * 12] * 2), scene(2, 12)[1]),
    "empty and one pixel wide": (
        torch.tensor([[[5.0, 5, 5, 5], [5, 5, 5, 5], [5, 0, 6, 40], [5, 0, 6, 39], [0, 0, 40, 40]]]),
        torch.tensor([[0.9, 0.8, 0.7, 0.6, 0.5]]),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_equals_torchvision_on_each_image(case: str) -> None:
    boxes, scores = CASES[case]
    keep = nms(boxes, scores, IOU, FLOOR)
    for row in range(len(boxes)):
        above = torch.nonzero(scores[row] > FLOOR).squeeze(1)
        expected = above[torchvision.ops.nms(boxes[row][above], scores[row][above], IOU)]
        assert torch.nonzero(keep[row]).squeeze(1).tolist() == sorted(expected.tolist())


@pytest.mark.parametrize("case", CASES)
def test_onnx_runtime_keeps_the_same_boxes(session: Any, case: str) -> None:
    boxes, scores = CASES[case]
    answer = session.run(None, {"boxes": boxes.numpy(), "scores": scores.numpy()})[0]
    assert answer.dtype == bool
    np.testing.assert_array_equal(answer, nms(boxes, scores, IOU, FLOOR).numpy())
