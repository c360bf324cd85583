"""Dynamic batching: a queue in front of a backend that runs requests of one size as one batch.

When a thread becomes free, it takes the oldest request and those of the same size. A lone request runs at once, unless
`max_delay` makes it wait for others to batch with. Several threads may run batches concurrently.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from medzoo.runtime.backends import Backend
from medzoo.runtime.backends.canvas import Canvas
from medzoo.runtime.time_limit import TimeLimitError, budget, time_limit
from medzoo.types import Array


class QueueFullError(Exception):
    """The queue is full: it holds its maximum of requests or of bytes."""


class DeadlineError(Exception):
    """The request's deadline passed while it waited or ran."""


class ClosedError(Exception):
    """The queue was closed and accepts no more requests."""


@dataclass(frozen=True)
class InferenceResult:
    """Outputs by name, the seconds in the queue and in the run, and the size of the batch it was part of."""

    outputs: Mapping[str, Array]
    queue_seconds: float
    compute_seconds: float
    batch_size: int


@dataclass(eq=False)
class _Request:
    inputs: Mapping[str, Array]
    outputs: tuple[str, ...] | None
    deadline: float | None
    limit: float = math.inf
    """Time limit of the run in seconds."""
    future: Future[InferenceResult] = field(default_factory=Future)
    entered: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        shapes = tuple((name, array.dtype.str, array.shape[1:]) for name, array in sorted(self.inputs.items()))
        # Requests of one signature can share a batch.
        self.signature = (shapes, self.outputs)
        self.rows = len(next(iter(self.inputs.values())))
        self.bytes = sum(array.nbytes for array in self.inputs.values())

    def is_late(self) -> bool:
        """Return True if the deadline has passed."""
        return self.deadline is not None and time.monotonic() >= self.deadline


class Batcher:
    """Runs `backend` in its own threads on batches of at most `max_batch_size` rows and `max_bytes` bytes.

    `runs`: number of threads, and so of concurrent batches. `max_delay`: seconds that a request may wait for others to
    batch with. `max_queue`, `max_queue_bytes`: requests, and bytes of their inputs, that may wait. A request of more
    than `max_batch_size` rows runs alone. The first axis of every input and output is the batch.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        max_batch_size: int = 8,
        max_bytes: int = 32 << 20,
        max_delay: float = 0.0,
        max_queue: int = 64,
        max_queue_bytes: int = 1 << 30,
        runs: int = 1,
    ) -> None:
        self.backend = backend
        self.max_batch_size, self.max_bytes, self.max_delay = max_batch_size, max_bytes, max_delay
        self.max_queue, self.max_queue_bytes = max_queue, max_queue_bytes
        self._waiting: deque[_Request] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._serve, name=f"medzoo-batches-{number}", daemon=True) for number in range(runs)
        ]
        for thread in self._threads:
            thread.start()

    def __len__(self) -> int:
        """Return the number of waiting requests."""
        return len(self._waiting)

    def submit(
        self,
        inputs: Mapping[str, Array],
        outputs: Sequence[str] | None = None,
        *,
        deadline: float | None = None,
        wait: bool = False,
    ) -> Future[InferenceResult]:
        """Queue a request and return a future of its result; cancelling the future drops a request that still waits.

        `deadline` (time.monotonic): the request then fails with DeadlineError, and its run is stopped once no other
        request of the batch needs it. A `time_limit` around the call limits the run, not the waiting. `wait`: wait
        while the queue is full instead of raising QueueFullError. Raises ClosedError after `close`.
        """
        allowed = budget()
        limit = math.inf if allowed is None else allowed.left
        request = _Request(inputs, tuple(outputs) if outputs is not None else None, deadline, limit)
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._closed or not self._full(request))
            if self._closed:
                raise ClosedError
            if self._full(request):
                self._drop_cancelled()
            if self._full(request):
                raise QueueFullError
            self._waiting.append(request)
            self._bytes += request.bytes
            self._changed.notify_all()
        return request.future

    def _drop_cancelled(self) -> None:
        """Remove cancelled requests from the queue."""
        gone = [request for request in self._waiting if request.future.cancelled()]
        for request in gone:
            self._waiting.remove(request)
            self._bytes -= request.bytes

    def _full(self, request: _Request) -> bool:
        beyond = self._bytes + request.bytes > self.max_queue_bytes and bool(self._waiting)
        return beyond or len(self._waiting) >= self.max_queue

    def close(self) -> None:
        """Accept no more requests, process the waiting ones, and stop the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                self._wait_for_batch()
                batch = self._next_batch()
                self._changed.notify_all()  # the queue has room again
            if batch:
                self._run(batch)
            # Free a large request before waiting for the next.
            del batch

    def _wait_for_batch(self) -> None:
        """Wait until the oldest request's batch is full or its `max_delay` is over."""
        if self.max_delay > 0 and self.max_batch_size > 1:
            first = self._waiting[0]
            end = first.entered + self.max_delay
            self._changed.wait_for(
                # Another thread may have taken the first meanwhile.
                lambda: (
                    self._closed
                    or first not in self._waiting
                    or sum(r.rows for r in self._waiting if r.signature == first.signature) >= self.max_batch_size
                ),
                timeout=max(0.0, end - time.monotonic()),
            )

    def _next_batch(self) -> list[_Request]:
        """Take the oldest pending request and those of its signature off the queue; the rest keep their order."""
        batch: list[_Request] = []
        rest: deque[_Request] = deque()
        rows = size = 0
        now = time.monotonic()
        for request in self._waiting:
            late = request.deadline is not None and now > request.deadline
            fits = not batch or (
                request.signature == batch[0].signature
                and rows + request.rows <= self.max_batch_size
                and size + request.bytes <= self.max_bytes
            )
            if not late and not request.future.cancelled() and not fits:
                rest.append(request)
                continue
            self._bytes -= request.bytes
            if not request.future.set_running_or_notify_cancel():
                continue
            if late:
                request.future.set_exception(DeadlineError())
                continue
            batch.append(request)
            rows, size = rows + request.rows, size + request.bytes
        self._waiting = rest
        return batch

    def _run(self, batch: list[_Request]) -> None:
        started = time.monotonic()
        rows = sum(request.rows for request in batch)
        try:
            outputs = self._run_batch(batch)
            parts, first = [], 0
            for request in batch:
                parts.append({name: array[first : first + request.rows] for name, array in outputs.items()})
                first += request.rows
        except Exception as error:
            if len(batch) > 1:
                # An invalid request must not fail the others of its batch.
                for request in batch:
                    if request.is_late():
                        request.future.set_exception(DeadlineError())
                    else:
                        self._run([request])
                return
            for request in batch:
                late = isinstance(error, TimeLimitError) and request.is_late()
                request.future.set_exception(DeadlineError() if late else error)
            return
        compute_seconds = time.monotonic() - started
        for request, part in zip(batch, parts, strict=True):
            request.future.set_result(InferenceResult(part, started - request.entered, compute_seconds, rows))

    def _run_batch(self, batch: list[_Request]) -> dict[str, Array]:
        names = batch[0].inputs
        inputs = {
            name: batch[0].inputs[name] if len(batch) == 1 else np.concatenate([r.inputs[name] for r in batch])
            for name in names
        }
        # A batch may take as long as its requests would one by one, and no longer than somebody waits for it.
        ends = max(math.inf if r.deadline is None else r.deadline for r in batch)
        with time_limit(min(sum(r.limit for r in batch), ends - time.monotonic())):
            return self.backend.run(inputs, batch[0].outputs)


class BatchingBackend:
    """A backend that runs through a Batcher, so that concurrent calls share batches.

    `stopped`: called before every run; if it returns True, the run raises ClosedError.
    """

    def __init__(
        self, batcher: Batcher, *, deadline: float | None = None, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        self.batcher = batcher
        self.metadata = batcher.backend.metadata
        self.name, self.device = batcher.backend.name, batcher.backend.device
        self.deadline, self.stopped = deadline, stopped

    @property
    def canvas(self) -> Canvas | None:
        """Canvas of the backend behind the queue."""
        found: Canvas | None = getattr(self.batcher.backend, "canvas", None)
        return found

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """See Backend.run; waits while the queue is full. Also raises DeadlineError and ClosedError."""
        if self.stopped():
            raise ClosedError
        answer = self.batcher.submit(inputs, outputs, deadline=self.deadline, wait=True).result()
        if (allowed := budget()) is not None:
            allowed.left = max(0.0, allowed.left - answer.compute_seconds)
        return dict(answer.outputs)
