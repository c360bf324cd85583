"""The supervisor of a worker process: restarts it if it crashes or hangs, and passes on signals to stop."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from medzoo.serve.logs import log

# Let glibc keep the memory of large requests instead of asking the kernel, and paging it in, for each.
_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}
_BEAT = 1.0  # seconds between two signs of life of a worker's event loop
_SILENT = 15.0  # seconds without one after which a worker is taken for dead
_LOOK = 0.25  # seconds between two looks at whether it was stopped
_STOPPED = 2  # looks in a row after which a worker that stands still is replaced
_QUICK = 5.0  # seconds; a worker that lives shorter than this did not get as far as serving
_MOST_QUICK = 3
_READY = "MEDZOO_SERVE_READY"


def supervise(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    keep: Sequence[int] = (),
    ended: Callable[[], None] = lambda: None,
) -> int:
    """Run `command`, restarting it, until it exits with code 0 or 2 or is stopped by SIGTERM or SIGINT.

    Returns the exit code.

    The worker's stdin is a pipe from this process: its end tells the worker that it is alone. Three workers
    in a row that die within five seconds and were never ready (`notify_ready`) end it too. `keep`: file descriptors
    that every worker is given, such as a listening socket, so that connections wait between one worker and the next.
    `ended`: called after each worker's end. A worker that is stopped (SIGSTOP), or whose event loop gives no sign of
    life for fifteen seconds once it was ready, is killed and replaced.
    """
    worker: subprocess.Popen[bytes] | None = None
    stopping = threading.Event()

    def tell(number: int, _: FrameType | None) -> None:
        stopping.set()
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
                if stopping.is_set():
                    worker.send_signal(signal.SIGTERM)
                code = ready.watch(worker)
                was_ready = ready.is_ready
            ended()
            if stopping.is_set() or code in (0, 2):
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
    """A pipe on which a worker reports that it is ready, then that it is alive; none on Windows."""

    def __init__(self) -> None:
        self._ends = list(os.pipe()) if sys.platform != "win32" else []
        self.given = self._ends[1:]
        self.environment = {_READY: str(self.given[0])} if self.given else {}
        self.is_ready = False

    def watch(self, worker: subprocess.Popen[bytes]) -> int:
        """Wait for the worker, killing it if it hangs; return its exit code."""
        if not self._ends:
            return worker.wait()
        os.close(self._ends.pop())  # the worker's own is the only one now: the pipe ends with it
        heard, stopped = time.monotonic(), 0
        while True:
            readable, _, _ = select.select(self._ends, [], [], _LOOK)
            if readable:
                if not os.read(self._ends[0], 4096):
                    return worker.wait()
                self.is_ready, heard, stopped = True, time.monotonic(), 0
            elif worker.poll() is not None:
                return worker.returncode
            stopped = stopped + 1 if _is_stopped(worker.pid) else 0
            silent = self.is_ready and time.monotonic() - heard > _SILENT
            if stopped >= _STOPPED or silent:
                log("worker hangs", stopped=stopped >= _STOPPED)
                worker.kill()
                return worker.wait()

    def __enter__(self) -> _Ready:
        return self

    def __exit__(self, *_: object) -> None:
        for end in self._ends:
            os.close(end)


def _is_stopped(process: int) -> bool:
    """Return True if a process was stopped by SIGSTOP; False where there is no /proc."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except (OSError, IndexError):
        return False


def notify_ready() -> None:
    """Tell the supervisor, if there is one, that this worker accepts requests."""
    if _READY in os.environ:
        os.write(int(os.environ[_READY]), b"1")


async def send_heartbeats() -> None:
    """Signal the supervisor, if there is one, every second that the event loop runs, until cancelled."""
    if _READY not in os.environ:
        return
    pipe = int(os.environ[_READY])
    os.set_blocking(pipe, False)
    while True:
        with suppress(OSError):  # full, or nobody is there to read it
            os.write(pipe, b".")
        await asyncio.sleep(_BEAT)


def when_orphaned(stop: Callable[[], None]) -> None:
    """Call `stop` from a thread when stdin closes, which means that the supervisor has ended."""

    def watch() -> None:
        # Not sys.stdin: the interpreter cannot end while a thread holds its lock.
        while os.read(0, 4096):
            pass
        stop()

    threading.Thread(target=watch, name="medzoo-supervisor", daemon=True).start()
