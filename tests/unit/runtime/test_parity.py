from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from medzoo.errors import UserError
from medzoo.inputs.probes import image_probes
from medzoo.runtime.metadata import Geometry, Metadata
from medzoo.runtime.parity.gate import check_golden_file, check_parity, dump_golden
from medzoo.types import Array

METADATA = Metadata(name="made", task="segment", labels=("a", "b"), geometry=Geometry())


class Graph:
    """Probabilities by a logistic curve over brightness; `scale` and `shift` damage it."""

    name, device, metadata = "made", "cpu", METADATA

    def __init__(self, *, scale: float = 1.0, shift: float = 0.0) -> None:
        self.scale, self.shift = scale, shift

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        p = 1 / (1 + np.exp(-(inputs["image"][:, 0] * self.scale - 100) / 30 + self.shift))
        both = np.stack([1 - p, p], axis=1).astype(np.float32)
        return {"labels": both.argmax(1).astype(np.uint8), "probabilities": both}


def test_probes_are_the_same_every_time_and_of_several_batches_and_sizes() -> None:
    one, two = image_probes(Geometry()), image_probes(Geometry())
    assert all(np.array_equal(a.inputs["image"], b.inputs["image"]) for a, b in zip(one, two, strict=True))
    shapes = [golden.inputs["image"].shape for golden in one]
    assert len({shape[0] for shape in shapes}) >= 3
    assert len({shape[2:] for shape in shapes}) >= 3


def test_rounding_passes_and_is_reported() -> None:
    report, answers = check_parity(Graph(), Graph(shift=1e-5), image_probes(Geometry()), where="x.onnx")
    assert 0 < report["largest"]["probabilities"] < 1e-4
    assert report["largest"]["labels"] == 0
    assert len(answers) == report["inputs"]


@pytest.mark.parametrize("damage", [{"scale": 2.0}, {"shift": 0.05}, {"scale": 1.01}])
def test_a_damaged_graph_is_refused_with_output_input_and_difference(damage: dict[str, float]) -> None:
    with pytest.raises(
        UserError, match=r"x\.onnx: output 'probabilities' differs from PyTorch by .* on probe 1x1x40x45"
    ):
        check_parity(Graph(), Graph(**damage), image_probes(Geometry()), where="x.onnx")


def test_an_output_of_another_shape_or_not_finite_is_refused() -> None:
    class Cut(Graph):
        def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
            return {k: v[..., :-1] for k, v in super().run(inputs).items()}

    class Broken(Graph):
        def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
            answer = super().run(inputs)
            answer["probabilities"][0, 0, 0, 0] = np.nan
            return answer

    for graph in (Cut(), Broken()):
        with pytest.raises(UserError, match="differs from PyTorch"):
            check_parity(Graph(), graph, image_probes(Geometry()), where="x.onnx")


def test_stored_outputs_are_compared_without_the_net_that_gave_them(tmp_path: Path) -> None:
    inputs = image_probes(Geometry())
    _, answers = check_parity(Graph(), Graph(), inputs, where="x.onnx")
    path = tmp_path / "golden.npz"
    path.write_bytes(dump_golden(inputs, answers))
    assert check_golden_file(Graph(), path)["largest"]["probabilities"] == 0
    with pytest.raises(UserError, match=r"golden\.npz"):
        check_golden_file(Graph(shift=0.05), path)
