"""Runs of one graph that overlap: a thread each, and bit-identical outputs."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from medzoo.runtime.backends.concurrent_onnx import ConcurrentOnnxBackend
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.types import Array

GRAPH = Path(__file__).parents[3] / "zoo" / "breast-lesion-rcnn" / "model.onnx"


class Held(OnnxBackend):
    """Runs that say they have begun, and wait until they may go on."""

    def __init__(self, source: Path) -> None:
        super().__init__(source, device="cpu", threads=2)
        self.begun, self.go = threading.Event(), threading.Event()

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        self.begun.set()
        assert self.go.wait(30)
        return super().run(inputs, outputs)


@pytest.fixture
def image() -> Array:
    smooth = np.add.outer(np.arange(120.0), np.arange(150.0))
    picture = 60 + 50 * np.sin(smooth / 9) + np.random.default_rng(0).normal(0, 8, smooth.shape)
    return picture[None, None].astype(np.float32)


def test_overlapping_runs_use_sessions_of_one_thread_and_give_the_same_outputs(image: Array) -> None:
    held = Held(GRAPH)
    both = ConcurrentOnnxBackend(held)
    answers: dict[str, dict[str, Array]] = {}
    first = threading.Thread(target=lambda: answers.update(first=both.run({"image": image})))
    first.start()
    assert held.begun.wait(30)
    # The held session would not answer before it is let go.
    second = both.run({"image": image})
    held.go.set()
    first.join(30)
    assert both._single is not None
    assert both._single.session.get_session_options().intra_op_num_threads == 1
    assert second["count"][0] > 0
    for name, value in second.items():
        np.testing.assert_array_equal(value, answers["first"][name])


def test_runs_one_after_another_open_no_second_session(image: Array) -> None:
    alone = ConcurrentOnnxBackend(OnnxBackend(GRAPH, device="cpu"))
    alone.run({"image": image}, ["count"])
    alone.run({"image": image}, ["count"])
    assert alone._single is None
