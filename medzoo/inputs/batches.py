"""Batches as a pure function of (seed, epoch, step), and the loader over them.

Nothing is drawn from a generator that lives on between batches. So any worker may make any batch, a resumed
run sees exactly the batches that the stopped one would have seen, and each of several processes takes its
share of the same global batch.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from medzoo.errors import UserError
from medzoo.types import Array

Batch = tuple[Any, ...]


class Batches(Protocol):
    """The batches of one side of the split."""

    def __len__(self) -> int:
        """Steps an epoch."""
        ...

    def batch(self, epoch: int, step: int, *, rank: int = 0, world: int = 1) -> Batch:
        """(input tensor, target) of one step; with `world` processes, the share of `rank`."""
        ...


def generator(seed: int, *key: int) -> np.random.Generator:
    """A generator that depends on the seed and the key alone."""
    return np.random.default_rng(np.random.SeedSequence([seed, *key]))


def shuffled(seed: int, *, number: int, batch: int, count: int) -> Array:
    """(batch,) indices below `count`: batch `number` of an endless row of shuffled passes.

    Every batch is full, so batch norm never meets a lonely last item, and every item is drawn equally often.
    """
    places = np.arange(number * batch, (number + 1) * batch)
    passes = {int(k): generator(seed, 1 << 20, int(k)).permutation(count) for k in np.unique(places // count)}
    return np.array([passes[int(p // count)][p % count] for p in places])


def in_order(step: int, *, batch: int, count: int, rank: int, world: int) -> range:
    """Indices below `count` of a step that takes all in order; the last one may be shorter, or a share of it empty."""
    return range(step * batch, min((step + 1) * batch, count))[rank::world]


class _Indexed(Dataset["Batch | UserError"]):
    def __init__(self, batches: Batches, rank: int, world: int) -> None:
        self.batches, self.rank, self.world = batches, rank, world

    def __getitem__(self, index: tuple[int, int]) -> Batch | UserError:
        # Handed over, not raised: torch would bury the one line in the traceback of a worker.
        try:
            return self.batches.batch(*index, rank=self.rank, world=self.world)
        except UserError as error:
            return error


class Loader:
    """Iterates over one epoch's batches, in `workers` processes; `epoch` and `start` are set by the trainer."""

    def __init__(self, batches: Batches, *, workers: int = 0, rank: int = 0, world: int = 1) -> None:
        self.batches, self.workers = batches, workers
        self.rank, self.world = rank, world
        self.epoch = 0
        self.start = 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        steps = [(self.epoch, step) for step in range(self.start, len(self.batches))]
        self.start = 0
        for batch in DataLoader(
            _Indexed(self.batches, self.rank, self.world),
            sampler=steps,
            batch_size=None,
            num_workers=self.workers,
            pin_memory=torch.cuda.is_available(),
            collate_fn=_as_it_is,
            worker_init_fn=partial(_end_with, parent=os.getpid()),
            # Its own: a loader that is opened again draws nothing from what dropout draws from.
            generator=torch.Generator(),
        ):
            if isinstance(batch, UserError):
                raise batch
            yield batch


def _as_it_is(batch: Any) -> Any:
    return batch


def _end_with(_worker: int, *, parent: int) -> None:
    """Ends this worker when the training is killed.

    torch's workers look themselves whether their parent lives, but take the one that they have when they are ready: of
    a training that is killed before, they stay for ever, and hold its memory. A terminal's Ctrl-C comes to every
    process, and is the training's to answer: it needs its workers for the step that it ends with.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    if multiprocessing.get_start_method() != "forkserver":  # where the parent is another
        threading.Thread(target=watch, daemon=True).start()
