"""Ties fall to the lower index, in torch as in ONNX Runtime."""

from __future__ import annotations

import onnxruntime
import torch
from torch import Tensor, nn

from medzoo.export.onnx_file import translations
from medzoo.nn.detection.nms import stable_top_k


class Best(nn.Module):
    def forward(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        values, indices = stable_top_k(scores, 40)
        return values, indices


def test_ties_fall_to_the_lower_index_in_both() -> None:
    scores = torch.randint(0, 3, (4, 300), generator=torch.Generator().manual_seed(0)).float()
    values, indices = stable_top_k(scores, 40)
    for row in range(4):
        expected = sorted(range(300), key=lambda k: (-float(scores[row, k]), k))[:40]
        assert indices[row].tolist() == expected
        assert values[row].tolist() == [float(scores[row, k]) for k in expected]
    program = torch.onnx.export(
        Best().eval(),
        (scores,),
        dynamo=True,
        verbose=False,
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        custom_translation_table=translations(),
    )
    assert program is not None
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    got = session.run(None, {session.get_inputs()[0].name: scores.numpy()})
    assert (got[0] == values.numpy()).all()
    assert (got[1] == indices.numpy()).all()


def test_fewer_than_wanted_gives_all() -> None:
    values, indices = stable_top_k(torch.tensor([[1.0, 3.0, 2.0]]), 9)
    assert values.tolist() == [[3.0, 2.0, 1.0]]
    assert indices.tolist() == [[1, 2, 0]]
