"""The memory of ONNX Runtime's own allocator: kept while shapes repeat, given back where they change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medzoo.commands.serve import _opened
from medzoo.runtime.backends.onnx import OnnxBackend
from tests.unit.serve.graphs import write_graph

needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@needs_proc
def test_a_large_shape_is_not_kept_once_another_came(tmp_path: Path) -> None:
    backend = OnnxBackend(write_graph(tmp_path / "graph.onnx", "segment"), device="cpu")
    small, large = (np.zeros((1, 1, side, side), np.float32) for side in (16, 4096))
    backend.run({"image": small})
    for _ in range(2):
        backend.run({"image": large})
    kept = resident()
    backend.run({"image": small})
    assert kept - resident() > large.nbytes // 2  # at least a tensor of its size, 64 MiB


def test_predictions_do_not_depend_on_what_ran_before(tmp_path: Path) -> None:
    backend = OnnxBackend(write_graph(tmp_path / "graph.onnx", "segment"), device="cpu")
    rng = np.random.default_rng(0)
    images = [rng.uniform(0, 255, (1, 1, side, side + 3)).astype(np.float32) for side in (9, 40, 9, 9, 64, 40)]
    first = [backend.run({"image": image}) for image in images]
    for image, expected in [*zip(images, first, strict=True)][::-1]:
        for name, value in backend.run({"image": image}).items():
            assert np.array_equal(value, expected[name]), name


@pytest.mark.parametrize("task", ["segment", "classify", "detect"])
def test_a_served_graph_has_run_before_anybody_asks(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[dict[str, tuple[int, ...]]] = []
    run = OnnxBackend.run

    def noted(self: OnnxBackend, inputs: Any, outputs: Any = None) -> Any:
        ran.append({name: array.shape for name, array in inputs.items()})
        return run(self, inputs, outputs)

    monkeypatch.setattr(OnnxBackend, "run", noted)
    graph = write_graph(tmp_path / "graph.onnx", task)
    _opened([str(graph), str(graph)], device="cpu", precision="auto")
    assert ran == [{"image": (1, 1, 64, 64)}]
