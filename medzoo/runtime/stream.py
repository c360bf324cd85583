"""Prediction of many inputs: reading, inference and decoding overlap, with results in order and bounded memory.

Each input is processed by one thread from file to result; the threads share a queue in front of the graph
(medzoo.runtime.backends.batching), which batches inputs of one size where that pays.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

from medzoo.runtime.backends import Backend
from medzoo.runtime.backends.batching import Batcher
from medzoo.runtime.backends.concurrent_onnx import ConcurrentOnnxBackend
from medzoo.runtime.backends.onnx import OnnxBackend

T = TypeVar("T")
_MOST = 64  # inputs in progress, however small they are
_BYTES = 256 << 20  # of prepared arrays in progress, beyond the first two


@dataclass(frozen=True)
class StreamConfig:
    """Batching and threading of a stream.

    `rows`: inputs per batch. `runs`: concurrent batches. `readers`: additional threads that read and decode. `delay`:
    seconds that an input waits for others to batch with.
    """

    rows: int
    runs: int
    readers: int
    delay: float = 0.0

    @classmethod
    def for_backend(cls, backend: Backend, *, batch: int | None = None, delay: float | None = None) -> StreamConfig:
        """Choose what suits the backend's device; `batch` and `delay` override it.

        A GPU needs large batches. A CPU gains nothing from them (benchmarks/predict.py), but from one run per core; run
        alone, a result also never depends on the other inputs.
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
        """Number of threads, and so of inputs in progress: those that run, and those that are read or decoded."""
        return min(_MOST, self.rows * self.runs + self.readers)


def map_in_order(work: Callable[[int, Any], tuple[T, int]], sources: Iterable[Any], *, threads: int) -> Iterator[T]:
    """Call `work(number, source)` in several threads; yield the results in order of the sources.

    `work` also returns the bytes of its input: two sources are in progress at first, and more while they are small.
    Sources are consumed only as they are needed. Closing the generator drops waiting ones.
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
    """Make the queue in front of a backend for one stream."""
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
