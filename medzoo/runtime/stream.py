"""Many inputs through one Predictor: several are read and brought back while others run, in order, in bounded memory.

Every input goes through one thread from file to finished answer; the graph is behind a queue that they share
(medzoo.runtime.backends.batching), which runs inputs of one size together where that pays.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

from medzoo.runtime.backends.base import Backend
from medzoo.runtime.backends.batching import Batcher
from medzoo.runtime.backends.concurrent_onnx import ConcurrentOnnxBackend
from medzoo.runtime.backends.onnx import OnnxBackend

T = TypeVar("T")
_MOST = 64  # inputs in hand, however small they are
_BYTES = 256 << 20  # of prepared arrays in hand, beyond the first two


@dataclass(frozen=True)
class StreamConfig:
    """How a stream uses a backend: `rows` that share a run, `runs` at once, `readers` besides, `delay` in seconds
    that an input waits for company."""

    rows: int
    runs: int
    readers: int
    delay: float = 0.0

    @classmethod
    def for_backend(cls, backend: Backend, *, batch: int | None = None, delay: float | None = None) -> StreamConfig:
        """What suits the backend's device; `batch` and `delay` replace its own.

        A GPU wants many rows in one run. A CPU gains nothing from that (docs: benchmarks/predict.py), but from a
        run on each core; alone in its run, an answer also never depends on which inputs came at the same time.
        """
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        if backend.device == "cpu":
            # torch has a pool of threads for each thread that calls it: there, one run at a time.
            config = cls(rows=batch or 1, runs=min(cores, 4) if backend.name == "onnx" else 1, readers=3)
        elif backend.name == "remote":
            # The server forms the batches.
            config = cls(rows=batch or 1, runs=8, readers=1)
        else:
            config = cls(rows=batch or 16, runs=1, readers=min(cores, 8), delay=0.002)
        return config if delay is None else cls(config.rows, config.runs, config.readers, delay)

    @property
    def threads(self) -> int:
        """Inputs in hand at once: one for each row that runs, and those that are read or written meanwhile."""
        return min(_MOST, self.rows * self.runs + self.readers)


def map_in_order(work: Callable[[int, Any], tuple[T, int]], sources: Iterable[Any], *, threads: int) -> Iterator[T]:
    """`work` of each source's number and itself, in the order of the sources, by several threads.

    `work` also says how many bytes its input took: begins with two sources in hand and takes more while they
    are small. Sources are taken no sooner than they are worked on. Closing the generator drops what waits.
    """
    rest = enumerate(sources)
    waiting: deque[Future[tuple[T, int]]] = deque()
    most = 2
    with ExitStack() as stack:
        pool = ThreadPoolExecutor(threads, thread_name_prefix="medzoo-stream")
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        while True:
            while len(waiting) < most:
                try:
                    number, source = next(rest)
                except StopIteration:
                    break
                waiting.append(pool.submit(work, number, source))
            if not waiting:
                return
            result, size = waiting.popleft().result()
            most = max(2, min(most + 1, 2 * threads, _BYTES // max(size, 1)))
            yield result


def make_batcher(backend: Backend, config: StreamConfig) -> Batcher:
    """The queue in front of a backend for one stream."""
    if config.runs > 1 and isinstance(backend, OnnxBackend) and backend.device == "cpu":
        backend = ConcurrentOnnxBackend(backend)
    return Batcher(
        backend,
        max_batch_size=config.rows,
        max_delay=config.delay,
        max_queue=2 * _MOST,
        # Only a batch of rows is joined to a new array; rows that run alone are not copied.
        max_bytes=_BYTES,
        runs=config.runs,
    )
