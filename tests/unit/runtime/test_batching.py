"""The queue in front of a backend: who runs with whom, who is refused, who is dropped."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from medzoo.errors import UserError
from medzoo.runtime.backends.batching import Batcher, BatchingBackend, ClosedError, DeadlineError, QueueFullError
from medzoo.runtime.metadata import Metadata


class Doubling:
    """Doubles its input once `go` is set; refuses what is negative."""

    metadata = Metadata(name="doubling", task="classify", labels=("a",))
    name = device = "test"

    def __init__(self) -> None:
        self.go = threading.Event()
        self.began = threading.Event()
        self.batches: list[int] = []

    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        self.began.set()
        assert self.go.wait(10)
        self.batches.append(len(inputs["x"]))
        if (inputs["x"] < 0).any():
            raise UserError("is negative")
        return {"y": 2 * inputs["x"]}


@pytest.fixture
def backend() -> Iterator[Doubling]:
    made = Doubling()
    yield made
    made.go.set()


def row(value: float, *, width: int = 2) -> dict[str, Any]:
    return {"x": np.full((1, width), value, np.float32)}


def occupied(backend: Doubling, **options: Any) -> Batcher:
    """A batcher whose backend is busy with a first request."""
    batcher = Batcher(backend, **options)
    batcher.submit(row(0))
    assert backend.began.wait(5)
    return batcher


def test_requests_of_one_size_that_wait_run_together(backend: Doubling) -> None:
    batcher = occupied(backend, max_batch_size=3)
    futures = [batcher.submit(row(n, width=5 if n == 2 else 2)) for n in range(1, 6)]
    backend.go.set()
    answers = [future.result(5) for future in futures]
    assert [float(answer.outputs["y"][0, 0]) for answer in answers] == [2, 4, 6, 8, 10]
    assert backend.batches == [1, 3, 1, 1]
    assert [answer.batch_size for answer in answers] == [3, 1, 3, 3, 1]


def test_an_idle_backend_waits_for_a_batch_no_longer_than_max_delay(backend: Doubling) -> None:
    backend.go.set()
    batcher = Batcher(backend, max_batch_size=2, max_delay=30)
    pair = [batcher.submit(row(1)), batcher.submit(row(2))]
    assert [future.result(5).batch_size for future in pair] == [2, 2]
    alone = Batcher(backend, max_batch_size=2, max_delay=0.05).submit(row(3)).result(5)
    assert alone.batch_size == 1
    assert alone.queue_seconds >= 0.04


def test_a_full_queue_refuses_and_those_who_wait_get_in(backend: Doubling) -> None:
    batcher = occupied(backend, max_queue=2)
    held = [batcher.submit(row(n)) for n in (1, 2)]
    with pytest.raises(QueueFullError):
        batcher.submit(row(3))
    waiting: list[Any] = []
    thread = threading.Thread(target=lambda: waiting.append(batcher.submit(row(4), wait=True)))
    thread.start()
    backend.go.set()
    thread.join(5)
    assert [float(f.result(5).outputs["y"][0, 0]) for f in [*held, *waiting]] == [2, 4, 8]


def test_bytes_bound_the_queue_too(backend: Doubling) -> None:
    batcher = occupied(backend, max_queue_bytes=100)
    batcher.submit(row(1, width=20))
    with pytest.raises(QueueFullError):
        batcher.submit(row(1, width=20))


def test_the_cancelled_and_the_late_never_run(backend: Doubling) -> None:
    batcher = occupied(backend)
    cancelled, kept = batcher.submit(row(1)), batcher.submit(row(2))
    late = batcher.submit(row(3), deadline=time.monotonic() - 1)
    assert cancelled.cancel()
    backend.go.set()
    assert kept.result(5).batch_size == 1
    with pytest.raises(DeadlineError):
        late.result(5)
    assert backend.batches == [1, 1]


def test_a_request_that_the_graph_refuses_costs_no_one_else(backend: Doubling) -> None:
    batcher = occupied(backend)
    good, bad = batcher.submit(row(1)), batcher.submit(row(-1))
    backend.go.set()
    assert float(good.result(5).outputs["y"][0, 0]) == 2
    with pytest.raises(UserError, match="is negative"):
        bad.result(5)


def test_closing_serves_waiting_requests_and_refuses_others(backend: Doubling) -> None:
    batcher = occupied(backend)
    last = batcher.submit(row(7))
    backend.go.set()
    batcher.close()
    assert float(last.result(0).outputs["y"][0, 0]) == 14
    with pytest.raises(ClosedError):
        batcher.submit(row(8))


def test_threads_that_share_a_batching_backend_share_batches(backend: Doubling) -> None:
    batcher = occupied(backend, max_batch_size=4)
    shared = BatchingBackend(batcher)
    answers: dict[int, float] = {}
    threads = [
        threading.Thread(target=lambda n=n: answers.update({n: float(shared.run(row(n))["y"][0, 0])})) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    while len(batcher) < 4:
        time.sleep(0.001)
    backend.go.set()
    for thread in threads:
        thread.join(5)
    assert answers == {0: 0, 1: 2, 2: 4, 3: 6}
    assert backend.batches == [1, 4]
    with pytest.raises(ClosedError):
        BatchingBackend(batcher, stopped=lambda: True).run(row(1))


def test_several_runs_at_once_each_give_their_own_outputs() -> None:
    meeting = threading.Barrier(2)

    class Together(Doubling):
        def run(self, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
            meeting.wait(10)  # breaks unless two runs are under way
            return super().run(inputs, outputs)

    backend = Together()
    backend.go.set()
    batcher = Batcher(backend, max_batch_size=1, runs=2)
    futures = [batcher.submit(row(n)) for n in range(6)]
    assert [future.result(10).outputs["y"].tolist() for future in futures] == [[[2 * n, 2 * n]] for n in range(6)]
    batcher.close()
