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


def supervise(command: Sequence[str], *, environment: Mapping[str, str]) -> int:
    """Run `command` until it ends by itself with code 0 or 2, or SIGTERM or SIGINT ends it; its exit code.

    The worker's stdin is a pipe from this process: its end tells the worker that it is alone. Three workers
    in a row that die within five seconds end it too.
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
            # A session of its own: Ctrl-C in a terminal reaches this process alone, which passes it on once.
            worker = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                env={**_MEMORY, **environment},
                start_new_session=sys.platform != "win32",
            )
            if told.is_set():
                worker.send_signal(signal.SIGTERM)
            code = worker.wait()
            if told.is_set() or code in (0, 2):
                return max(code, 0)
            quick = quick + 1 if time.monotonic() - started < _QUICK else 0
            log("worker died", code=code, again=quick < _MOST_QUICK)
            if quick >= _MOST_QUICK:
                return 1
    finally:
        if worker is not None and worker.poll() is None:
            worker.terminate()
        for number, handler in before.items():
            signal.signal(number, handler)


def when_alone(stop: Callable[[], None]) -> None:
    """Call `stop`, from a thread of its own, once stdin ends: the supervisor is gone."""

    def watch() -> None:
        # Not sys.stdin: the interpreter cannot end while a thread holds its lock.
        while os.read(0, 4096):
            pass
        stop()

    threading.Thread(target=watch, name="medzoo-supervisor", daemon=True).start()
