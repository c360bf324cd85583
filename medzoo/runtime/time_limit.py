"""A limit on the computing time of graphs, for everything that a block runs in its thread.

Without one a graph may run forever: a Loop takes its number of iterations from the file, or from the image. ONNX
Runtime checks `RunOptions.terminate` between two operators, also within loops; one thread of this process sets it when
a run's time is over. A single operator is never interrupted.
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from medzoo.errors import UserError


class TimeLimitError(UserError):
    """A run exceeded its time limit."""


class Budget:
    """Remaining seconds of computing time; waiting for other runs does not count."""

    def __init__(self, seconds: float) -> None:
        self.left = seconds


class Terminable(Protocol):
    """Run options of ONNX Runtime: a run ends soon after `terminate` was set."""

    terminate: bool


_budget: ContextVar[Budget | None] = ContextVar("medzoo-time-limit", default=None)


def budget() -> Budget | None:
    """Return the budget of the innermost `time_limit` around this call; None without one."""
    return _budget.get()


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Limit the computing time of all graphs that the block runs; one that takes longer raises TimeLimitError.

    None or infinity changes nothing: an outer limit stays.
    """
    if seconds is None or math.isinf(seconds):
        yield
        return
    token = _budget.set(Budget(max(0.0, seconds)))
    try:
        yield
    finally:
        _budget.reset(token)


def check_time_limit(seconds: float | None) -> float | None:
    """Return `seconds`. Raises UserError unless it is None or a positive number."""
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise UserError(f"{seconds!r} is not a positive number of seconds", where="time_limit")
    return float(seconds)


class _Watchdog:
    """Sets `terminate` of run options when their time is over, from one thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int]] = []
        self._watched: dict[int, Terminable] = {}
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self._wakes = -math.inf

    def watch(self, options: Terminable, until: float) -> int:
        """Terminate `options` at `until` (time.monotonic) unless `forget` is called with the returned number before."""
        with self._changed:
            number = next(self._numbers)
            self._watched[number] = options
            heapq.heappush(self._due, (until, number))
            if self._thread is None or not self._thread.is_alive():  # a forked process has no such thread yet
                self._thread = threading.Thread(target=self._serve, name="medzoo-time-limit", daemon=True)
                self._thread.start()
            elif until < self._wakes:
                self._changed.notify()
        return number

    def forget(self, number: int) -> None:
        """Stop watching the options of that number."""
        with self._changed:
            self._watched.pop(number, None)
            while self._due and self._due[0][1] not in self._watched:
                heapq.heappop(self._due)

    def _serve(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                while self._due and self._due[0][0] <= now:
                    options = self._watched.pop(heapq.heappop(self._due)[1], None)
                    if options is not None:
                        options.terminate = True
                # A run that ends in time leaves this as it is: to be woken for each would cost more than a light run.
                self._wakes = self._due[0][0] if self._due else math.inf
                self._changed.wait(self._wakes - now if self._due else None)


_watchdog = _Watchdog()


@contextmanager
def enforce(allowed: Budget, options: Terminable) -> Iterator[None]:
    """Run the block with `options` within the budget `allowed`; raise TimeLimitError if it was stopped."""
    if allowed.left <= 0:
        raise TimeLimitError("the time limit is used up")
    start = time.monotonic()
    number = _watchdog.watch(options, start + allowed.left)
    try:
        yield
    except Exception as error:
        if options.terminate:
            raise TimeLimitError(
                f"the run was stopped by its time limit after {time.monotonic() - start:.3g} seconds"
            ) from error
        raise
    finally:
        _watchdog.forget(number)
        allowed.left = max(0.0, allowed.left - (time.monotonic() - start))
