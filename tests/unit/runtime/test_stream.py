"""Streams: order, batches by size, what overlaps, and memory that does not grow."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medzoo.errors import UserError
from medzoo.results import Classification, Failure, Result
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.metadata import Metadata
from medzoo.runtime.predictor import Predictor
from medzoo.runtime.stream import StreamConfig, map_in_order
from tests.unit.serve.graphs import write_graph


class Mean:
    """The mean of a picture as a probability, on a made-up device; remembers the batches it was given."""

    metadata = Metadata(name="mean", task="classify", labels=("dark", "bright"))
    name = "onnx"

    def __init__(self, device: str = "cuda:0") -> None:
        self.device = device
        self.batches: list[tuple[int, ...]] = []

    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        image = inputs["image"]
        self.batches.append(image.shape)
        p = image.mean(axis=(1, 2, 3)) / 255
        return {"probabilities": np.stack([1 - p, p], 1).astype(np.float32)}


def pictures(count: int) -> list[Any]:
    """Of two sizes in turn, each of one value."""
    return [np.full((8, 8 + number % 2), number % 250, np.uint8) for number in range(count)]


def values(results: Iterator[Any]) -> list[int]:
    return [round(255 * result.probabilities["bright"]) for result in results if isinstance(result, Classification)]


def test_batches_are_of_one_size_and_results_in_order() -> None:
    backend = Mean()
    assert values(Predictor(backend).stream(pictures(200), batch=4, delay=0.05)) == [n % 250 for n in range(200)]
    assert all(shape[0] <= 4 for shape in backend.batches)
    assert sum(shape[0] for shape in backend.batches) == 200
    assert len(backend.batches) < 120  # most of them ran in company
    assert {shape[3] for shape in backend.batches} == {8, 9}


def test_on_a_cpu_an_input_runs_alone_whatever_comes_with_it() -> None:
    backend = Mean("cpu")
    assert values(Predictor(backend).stream(pictures(30))) == list(range(30))
    assert {shape[0] for shape in backend.batches} == {1}


def test_the_pace_suits_the_device_and_can_be_set() -> None:
    gpu, cpu = StreamConfig.for_backend(Mean()), StreamConfig.for_backend(Mean("cpu"))
    assert gpu.rows > 1
    assert gpu.delay > 0
    assert gpu.threads > gpu.rows  # some are read while a batch runs
    assert (cpu.rows, cpu.delay) == (1, 0)
    assert (
        StreamConfig.for_backend(Mean("cpu"), batch=5, delay=0.5).rows,
        StreamConfig.for_backend(Mean(), delay=0.5).delay,
    ) == (5, 0.5)


def test_a_failure_stands_in_its_place_and_costs_no_one_else() -> None:
    sources = [*pictures(3), "missing.png", *pictures(2)]
    results = list(Predictor(Mean()).stream(sources))
    assert [isinstance(result, Failure) for result in results] == [False, False, False, True, False, False]


def test_reading_running_and_writing_overlap() -> None:
    """The first input's writing ends only once a later one is being read: in turns, this would wait for ever."""
    later = threading.Event()

    def sources() -> Iterator[Any]:
        yield from pictures(2)
        later.set()
        yield from pictures(3)

    def finish(number: int, result: Result) -> Result:
        if number == 1:
            assert later.wait(10)
        return result

    assert len(list(Predictor(Mean("cpu")).stream(sources(), finish=finish))) == 5


def test_what_finish_cannot_do_is_a_failure() -> None:
    def finish(number: int, result: Result) -> Result:
        raise UserError("no space")

    (answer,) = Predictor(Mean()).stream(pictures(1), finish=finish)
    assert isinstance(answer, Failure)
    assert "no space" in str(answer.error)


def test_a_stream_that_is_left_takes_no_more() -> None:
    taken: list[int] = []

    def sources() -> Iterator[Any]:
        for number in range(10**6):
            taken.append(number)
            yield np.zeros((8, 8), np.uint8)

    before = set(threading.enumerate())
    stream = Predictor(Mean()).stream(sources())
    next(stream)
    stream.close()
    assert len(taken) < 10
    assert set(threading.enumerate()) <= before


def test_large_inputs_are_few_in_hand() -> None:
    in_hand = most = 0
    lock = threading.Lock()

    def work(number: int, source: int) -> tuple[int, int]:
        nonlocal in_hand, most
        with lock:
            in_hand += 1
            most = max(most, in_hand)
        threading.Event().wait(0.005)
        with lock:
            in_hand -= 1
        return source, 10**9

    assert list(map_in_order(work, range(20), threads=8)) == list(range(20))
    assert most <= 2


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_memory_is_flat_over_a_thousand_inputs(tmp_path: Path) -> None:
    backend = OnnxBackend(write_graph(tmp_path / "classify.onnx", "classify"), device="cpu")

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    seen = []
    image = np.full((512, 512), 9, np.uint8)
    for number, _ in enumerate(Predictor(backend).stream(image.copy() for _ in range(1000))):
        if number % 100 == 99:
            seen.append(resident())
    # A thousand inputs of 1.25 MB with what was made of them; a tenth of them kept would show.
    assert max(seen[2:]) - seen[1] < 32 << 20
