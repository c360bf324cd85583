"""Concurrent runs of an ONNX Runtime graph on the CPU: a single run uses every core, concurrent ones one each."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from medzoo.runtime.backends.canvas import Canvas
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.types import Array


class ConcurrentOnnxBackend:
    """Runs `backend` with the same results to the last bit, but in a second, single-threaded session when runs overlap.

    Runs that share threads wait for one another at every operator, so one thread per run gives a higher throughput.
    The second session is opened when two runs first overlap.
    """

    name = "onnx"

    def __init__(self, backend: OnnxBackend) -> None:
        self.backend = backend
        self.metadata, self.device = backend.metadata, backend.device
        self._single: OnnxBackend | None = None
        self._running = 0
        self._lock = threading.Lock()

    @property
    def canvas(self) -> Canvas | None:
        """See OnnxBackend.canvas."""
        return self.backend.canvas

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """See Backend.run."""
        session = self._begin()
        try:
            return session.run(inputs, outputs)
        finally:
            with self._lock:
                self._running -= 1

    def _begin(self) -> OnnxBackend:
        """Choose the session of the next run."""
        with self._lock:
            if self._running and self._single is None:
                self._single = self.backend.with_threads(1)
            session = self._single if self._running and self._single is not None else self.backend
            self._running += 1
            return session
