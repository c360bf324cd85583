"""A run that never ends is stopped, and no other result is lost with it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from typer.testing import CliRunner

import medzoo
from medzoo.cli import app
from medzoo.errors import UserError
from medzoo.results import Failure
from medzoo.runtime.backends.batching import Batcher, BatchingBackend, DeadlineError
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.stream import StreamConfig, make_batcher
from medzoo.runtime.time_limit import TimeLimitError, budget, time_limit
from tests.unit.runtime.endless import KINDS, write_endless

BLACK, LIT = np.zeros((1, 1, 8, 8), np.float32), np.ones((1, 1, 8, 8), np.float32)
DARK, BRIGHT = np.zeros((8, 8), np.uint8), np.full((8, 8), 200, np.uint8)
LIMIT = 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_that_never_ends_is_ended(kind: str, tmp_path: Path) -> None:
    backend = OnnxBackend(write_endless(tmp_path / "graph.onnx", kind), device="cpu")
    with time_limit(LIMIT), pytest.raises(TimeLimitError, match=r"graph\.onnx: the run was stopped"):
        backend.run({"image": LIT})
    with time_limit(10):
        assert np.allclose(backend.run({"image": BLACK})["probabilities"], 0.5)


def test_runs_share_what_a_block_may_spend(tmp_path: Path) -> None:
    backend = OnnxBackend(write_endless(tmp_path / "graph.onnx"), device="cpu")
    with time_limit(LIMIT):
        with pytest.raises(TimeLimitError):
            backend.run({"image": LIT})
        with pytest.raises(TimeLimitError, match="time limit is used up"):
            backend.run({"image": BLACK})
    assert budget() is None


def test_python_and_streams_say_it_in_the_input_s_place(tmp_path: Path) -> None:
    model = medzoo.load(write_endless(tmp_path / "graph.onnx"), device="cpu", time_limit=LIMIT)
    with pytest.raises(UserError, match=r"endless exceeded its time limit of 0\.5 seconds"):
        model.predict(BRIGHT)
    given = [DARK, BRIGHT, DARK, DARK]
    found = list(model.stream(given))
    assert [isinstance(one, Failure) for one in found] == [False, True, False, False]


def test_a_batch_that_one_input_keeps_from_ending_is_taken_apart(tmp_path: Path) -> None:
    model = medzoo.load(write_endless(tmp_path / "graph.onnx"), device="cpu", time_limit=LIMIT)
    found = list(model.stream([DARK, BRIGHT, DARK], batch=3, delay=1.0))
    assert [isinstance(one, Failure) for one in found] == [False, True, False]


def test_waiting_behind_a_run_that_never_ends_costs_no_time(tmp_path: Path) -> None:
    backend = OnnxBackend(write_endless(tmp_path / "graph.onnx"), device="cpu")
    batcher = Batcher(backend, max_batch_size=1, runs=1)
    try:
        with time_limit(3 * LIMIT):
            endless = batcher.submit({"image": LIT})
        with time_limit(LIMIT):
            allowed = budget()
            answer = BatchingBackend(batcher).run({"image": BLACK})
        assert np.allclose(answer["probabilities"], 0.5)
        assert allowed is not None
        assert allowed.left > 0
        assert isinstance(endless.exception(), TimeLimitError)
    finally:
        batcher.close()


@pytest.mark.parametrize("parallel", [False, True])
def test_a_run_ends_with_the_deadline_of_the_last_who_waits(parallel: bool, tmp_path: Path) -> None:
    backend = OnnxBackend(write_endless(tmp_path / "graph.onnx"), device="cpu")
    batcher = (
        make_batcher(backend, StreamConfig(rows=1, runs=2, readers=1))
        if parallel
        else Batcher(backend, max_batch_size=2, max_delay=0.2, runs=1)
    )
    try:
        soon = batcher.submit({"image": LIT}, deadline=time.monotonic() + LIMIT)
        later = batcher.submit({"image": LIT}, deadline=time.monotonic() + 2 * LIMIT)
        assert isinstance(soon.exception(), DeadlineError)
        assert isinstance(later.exception(), DeadlineError)
        assert np.allclose(batcher.submit({"image": BLACK}).result().outputs["probabilities"], 0.5)
    finally:
        batcher.close()


@pytest.mark.parametrize("given", [0, -1, float("nan"), float("inf"), True, "5"])
def test_a_limit_that_is_no_time_is_refused(given: object, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"time_limit: .* is not a positive number of seconds"):
        medzoo.load(write_endless(tmp_path / "graph.onnx"), time_limit=given)  # type: ignore[arg-type]


def test_the_command_line_predicts_the_others_and_exits_with_2(tmp_path: Path) -> None:
    graph = write_endless(tmp_path / "graph.onnx")
    names = []
    for number, value in enumerate((0, 200, 0)):
        names.append(str(tmp_path / f"{number}.png"))
        Pillow.fromarray(np.full((8, 8), value, np.uint8)).save(names[-1])
    options = ["--time-limit", str(LIMIT), "--device", "cpu", "--json", "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(app, ["predict", str(graph), *names, *options])
    answers = json.loads(done.stdout)
    assert done.exit_code == 2
    assert ["error" in answer for answer in answers] == [False, True, False]
    assert "1.png: endless exceeded its time limit of 0.5 seconds" in answers[1]["error"]
