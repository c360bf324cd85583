"""A limit on the time that graphs may compute, for everything that a block runs in its thread.

Without one a graph may run for ever: a Loop takes its number of rounds from the file, or from the image. ONNX Runtime
looks at `RunOptions.terminate` between two operators, in the bodies of loops too; one thread of this process sets it
where a run's time is over. One operator is never ended midway.
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
    """A run that was ended because its time was over."""


class Budget:
    """Seconds of computing that are left; waiting for other runs does not count."""

    def __init__(self, seconds: float) -> None:
        self.left = seconds


class Terminable(Protocol):
    """Run options of ONNX Runtime: a run ends soon after `terminate` was set."""

    terminate: bool


_budget: ContextVar[Budget | None] = ContextVar("medzoo-time-limit", default=None)


def budget() -> Budget | None:
    """What the innermost `time_limit` around this call has left; None without one."""
    return _budget.get()


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Let the graphs that the block runs compute for `seconds` in all; a run that takes longer raises TimeLimitError.

    None, or infinity, changes nothing: a limit around this one stays.
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
    """`seconds` if it is a time. Raises UserError if it is no positive number."""
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise UserError(f"{seconds!r} is not a positive number of seconds", where="time_limit")
    return float(seconds)


class _Watchdog:
    """Sets `terminate` of run options at their time, from one thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int]] = []
        self._watched: dict[int, Terminable] = {}
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self._wakes = -math.inf

    def watch(self, options: Terminable, until: float) -> int:
        """Terminate `options` at `until` (time.monotonic) unless the number returned is given to `forget` before."""
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
        """Leave the options of that number alone from now on."""
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
    """A run with `options`, whose time is taken from `allowed`. Raises TimeLimitError in place of what the run raises
    when it was ended; the caller names the model."""
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
