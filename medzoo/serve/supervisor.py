"""Keeps one worker process alive: a worker that dies is started again, a worker that is told to stop may end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType

from medzoo.serve.logs import log

# Let glibc keep the memory of large requests instead of asking the kernel, and paging it in, for each.
_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}
_QUICK = 5.0  # seconds; a worker that lives shorter than this did not get as far as serving
_MOST_QUICK = 3
_READY = "MEDZOO_SERVE_READY"


def supervise(command: Sequence[str], *, environment: Mapping[str, str], keep: Sequence[int] = ()) -> int:
    """Run `command` until it ends by itself with code 0 or 2, or SIGTERM or SIGINT ends it; its exit code.

    The worker's stdin is a pipe from this process: its end tells the worker that it is alone. Three workers
    in a row that die within five seconds and were never ready (`tell_ready`) end it too. `keep`: file descriptors
    that every worker is given, such as a listening socket, so that connections wait between one worker and the next.
    """
    worker: subprocess.Popen[bytes] | None = None
    told = threading.Event()

    def tell(number: int, _: FrameType | None) -> None:
        told.set()
        if worker is not None and worker.poll() is None:
            worker.send_signal(signal.SIGTERM)

    before = {number: signal.signal(number, tell) for number in (signal.SIGTERM, signal.SIGINT)}
    quick = 0
    try:
        while True:
            started = time.monotonic()
            with _Ready() as ready:
                # A session of its own: Ctrl-C in a terminal reaches this process alone, which passes it on once.
                worker = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    env={**_MEMORY, **environment, **ready.environment},
                    start_new_session=sys.platform != "win32",
                    pass_fds=[*keep, *ready.given],
                )
                if told.is_set():
                    worker.send_signal(signal.SIGTERM)
                code = worker.wait()
                was_ready = ready.was_told()
            if told.is_set() or code in (0, 2):
                return max(code, 0)
            quick = 0 if was_ready or time.monotonic() - started >= _QUICK else quick + 1
            log("worker died", code=code, again=quick < _MOST_QUICK)
            if quick >= _MOST_QUICK:
                return 1
    finally:
        if worker is not None and worker.poll() is None:
            worker.terminate()
        for number, handler in before.items():
            signal.signal(number, handler)


class _Ready:
    """A pipe by which one worker says that it takes requests; none on Windows, which passes no descriptors."""

    def __init__(self) -> None:
        self._ends = os.pipe() if sys.platform != "win32" else ()
        self.given = self._ends[1:]
        self.environment = {_READY: str(self.given[0])} if self.given else {}

    def was_told(self) -> bool:
        """Whether it said so; asked once it has ended."""
        if not self._ends:
            return False
        os.set_blocking(self._ends[0], False)
        try:
            return bool(os.read(self._ends[0], 1))
        except BlockingIOError:
            return False

    def __enter__(self) -> _Ready:
        return self

    def __exit__(self, *_: object) -> None:
        for end in self._ends:
            os.close(end)


def tell_ready() -> None:
    """Say to the supervisor, if there is one, that this worker takes requests."""
    if _READY in os.environ:
        os.write(int(os.environ[_READY]), b"1")


def when_alone(stop: Callable[[], None]) -> None:
    """Call `stop`, from a thread of its own, once stdin ends: the supervisor is gone."""

    def watch() -> None:
        # Not sys.stdin: the interpreter cannot end while a thread holds its lock.
        while os.read(0, 4096):
            pass
        stop()

    threading.Thread(target=watch, name="medzoo-supervisor", daemon=True).start()
