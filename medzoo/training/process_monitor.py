"""Process monitor: name the process that ended, from those that cannot go on without it.

What a lost process leaves to the others is a closed connection. Those that are left sign in a store that all of them
reach, and one that ends by an error of its own leaves its line there; who did neither is the one that is gone.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch.distributed as dist
from pytorch_lightning.plugins.environments import LightningEnvironment

from medzoo.errors import UserError
from medzoo.report.summary import Console
from medzoo.training.processes import INTERRUPTED, REQUEUE

_WAIT = 3.0  # seconds in which the others sign
_LOOK = 0.2
_ORPHANED = 0.5
_WORDS = ("closed by peer", "connection reset", "broken pipe", "connection refused", "timed out", "gloo", "nccl")


class LostProcessError(UserError):
    """Another process of this training ended, so this one cannot go on."""


class ProcessMonitor(pl.Callback):  # type: ignore[misc]
    """Knows the other processes of a training; `lost` says which of them ended, once one did."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.lost: str | None = None
        self._parent = os.getppid()

    @contextmanager
    def watched(self, trainer: Any) -> Iterator[None]:
        """Around a training: says at once which of the processes that Lightning started itself ended by itself.

        Lightning ends all others without a word then, wherever they wait.
        """
        over = threading.Event()

        def watch() -> None:
            while not over.wait(_LOOK):
                for number, process in enumerate(getattr(trainer.strategy.launcher, "procs", ()), start=1):
                    if process.poll() not in (None, 0, REQUEUE, INTERRUPTED):
                        self.console.print(_ended(number, trainer.world_size, process.returncode), markup=False)
                        return

        thread = threading.Thread(target=watch, name="medzoo-process-monitor", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        if trainer.world_size == 1 or not dist.is_initialized():
            return
        rank, world = trainer.global_rank, trainer.world_size
        store: Any = dist.distributed_c10d._get_default_store()
        if not _is_lost_connection(exception):
            with _ignored():
                store.set(f"medzoo/ended/{rank}", " ".join(str(exception).split())[:500])
            return
        if rank and self._orphaned(trainer):
            self.lost = f"process 0 of {world} is gone"
            return
        started = dict(enumerate(getattr(trainer.strategy.launcher, "procs", ()), start=1))
        with _without_sigterm():
            self.lost = _name_lost(store, rank=rank, world=world, started=started)

    def _orphaned(self, trainer: Any) -> bool:
        """True if the first process, which started this one and keeps the store, is gone: torch would say so in many
        lines if it were asked."""
        if not isinstance(trainer.strategy.cluster_environment, LightningEnvironment):
            return False
        end = time.monotonic() + _ORPHANED
        while os.getppid() == self._parent and time.monotonic() < end:
            time.sleep(_LOOK / 10)  # its connections close a little before it is gone
        return os.getppid() != self._parent


def _is_lost_connection(error: BaseException) -> bool:
    """True if the error says that another process could not be reached."""
    if isinstance(error, UserError) or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, dist.DistError) or any(word in str(error).lower() for word in _WORDS)


def _name_lost(store: Any, *, rank: int, world: int, started: Mapping[int, Any]) -> str:
    """`started`: processes that this one started, by rank."""
    waited_for = set(range(world)) - {rank}
    end = time.monotonic() + _WAIT
    try:
        store.set(f"medzoo/here/{rank}", "")
        while True:
            for other in sorted(waited_for):
                if store.check([f"medzoo/ended/{other}"]):
                    return f"process {other} of {world} ended: {store.get(f'medzoo/ended/{other}').decode()}"
                if other in started and started[other].poll() is not None:
                    return _ended(other, world, started[other].returncode)
                if store.check([f"medzoo/here/{other}"]):
                    waited_for.discard(other)
            if not waited_for or time.monotonic() > end:
                break
            time.sleep(_LOOK)
    except (RuntimeError, OSError):  # the store is kept by the first process, or by what started it
        return f"process 0 of {world} is gone"
    names = " and ".join(str(other) for other in sorted(waited_for))
    return f"process {names} of {world} is gone" if names else f"one of {world} processes could not be reached"


def _ended(number: int, world: int, code: int) -> str:
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    return f"process {number} of {world} {how}"


@contextmanager
def _without_sigterm() -> Iterator[None]:
    """Without SIGTERM, which a launcher sends to those that are left: Lightning would answer it by asking them all."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _ignored() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, OSError):
        return
