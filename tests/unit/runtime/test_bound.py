"""Buffers that stay where they are: the same outputs as without, here on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medzoo.runtime.backends.io_binding import BoundSession
from medzoo.runtime.backends.onnx import OnnxBackend
from tests.unit.serve.graphs import write_graph


@pytest.mark.parametrize("task", ["segment", "classify", "detect"])
def test_bound_runs_equal_unbound_ones_and_keep_nothing_of_the_last_one(task: str, tmp_path: Path) -> None:
    backend = OnnxBackend(write_graph(tmp_path / "graph.onnx", task), device="cpu")
    bound = BoundSession(backend.session, device="cpu")
    rng = np.random.default_rng(0)
    kept = []
    for number in range(30):  # more shapes than are kept, each again with other values
        image = rng.uniform(0, 255, (1 + number % 2, 1, 4 + number % 11, 6)).astype(np.float32)
        expected = backend.run({"image": image})
        answer = bound.run({"image": image}, list(expected))
        kept.append((answer, expected))
    for answer, expected in kept:  # later runs wrote over none of the earlier answers
        for name, value in expected.items():
            assert answer[name].dtype == value.dtype
            assert np.array_equal(answer[name], value), name
