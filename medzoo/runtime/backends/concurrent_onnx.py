"""An ONNX Runtime graph on a CPU whose runs overlap: alone, a run takes every core; beside others, one."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from medzoo.runtime.backends.canvas import Canvas
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.types import Array


class ConcurrentOnnxBackend:
    """The answers of `backend`, to the last bit, from two sessions of the same graph.

    Runs that share threads wait for one another at every operator: as many runs as there are cores, a thread each,
    answer more images a second. The second session is opened when two runs first meet.
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
        """The session for one more run."""
        with self._lock:
            if self._running and self._single is None:
                self._single = self.backend.with_threads(1)
            session = self._single if self._running and self._single is not None else self.backend
            self._running += 1
            return session
