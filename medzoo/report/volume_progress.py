"""Progress of predictions of volumes on stderr: a bar with the time left, or a line now and then where no one watches.

A volume takes seconds to minutes, a picture none worth a bar: the runtime calls back for volumes alone.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from medzoo.escape import escaped
from medzoo.report.summary import Console

LINE = 10.0
"""Seconds between two lines in a file."""


class VolumeProgress:
    """Called with an input's name, the runs of the graph that are done and their number, from any thread.

    On a terminal a bar for each volume in progress, gone when it is done; elsewhere a line of text every LINE seconds.
    `named`: with the input's name.
    """

    def __init__(self, console: Console, *, named: bool = True) -> None:
        self.console, self.named = console, named
        self._lock = threading.Lock()
        self._bars: dict[str, TaskID] = {}
        self._started: dict[str, float] = {}
        self._said: dict[str, float] = {}
        self._progress: Progress | None = None
        if console.is_terminal:
            columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn(compact=True))
            # Results go to stdout as they are, also where both are one terminal.
            streams: dict[str, Any] = {"redirect_stdout": False, "redirect_stderr": False}
            self._progress = Progress(*columns, console=console, transient=True, **streams)

    def __call__(self, name: str, done: int, total: int) -> None:
        """Tell of one more run."""
        with self._lock:
            if self._progress is None:
                self._say(name, done, total)
                return
            if name not in self._bars:
                self._bars[name] = self._progress.add_task(self._title(name), total=total)
                self._progress.start()
            self._progress.update(self._bars[name], completed=done, total=total)
            if done >= total:
                self._progress.remove_task(self._bars.pop(name))

    def pause(self) -> None:
        """Clear the bars, so that a line can be printed; the next run shows them again."""
        with self._lock:
            if self._progress is not None:
                self._progress.stop()
                for name in list(self._bars):
                    self._progress.remove_task(self._bars.pop(name))

    def _title(self, name: str) -> str:
        return escaped(name) if self.named else "volume"

    def _say(self, name: str, done: int, total: int) -> None:
        now = time.monotonic()
        started = self._started.setdefault(name, now)
        said = self._said.setdefault(name, now)
        if done >= total:
            del self._started[name], self._said[name]
        elif now - said >= LINE:
            self._said[name] = now
            left = (now - started) / max(done - 1, 1) * (total - done)
            words = f"{100 * done // total} %, {int(left) // 60}:{int(left) % 60:02d} left"
            self.console.print(f"{self._title(name)}: {words}", markup=False, soft_wrap=True)
