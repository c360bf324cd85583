"""Time and memory of training steps on this machine, measured over a few of them."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from medzoo import registry
from medzoo.data.opened import OpenData
from medzoo.inputs.batches import Batches
from medzoo.inputs.images import ImageBatches
from medzoo.nn.net import Net
from medzoo.nn.weights import build_net
from medzoo.recipe import Recipe
from medzoo.training.optimiser import make_optimiser

_ITEMS = {"pictures": (24, 6), "volumes": (3, 2)}  # of training and validation that are opened
_WARM = 2  # steps that are not counted: memory is allocated, kernels are chosen
_BELOW = 0.35  # share of the steps' time that a step in inference takes, where validation gives no time of its own


@dataclass(frozen=True)
class Pace:
    """Seconds, on this machine under its present load. `step`: of an optimiser step; `val_item`: of an item (a batch of
    crops) in validation; `answer`: of an item's prediction; `open_item`: to read and prepare one; `memory`: bytes.
    """

    step: float
    val_item: float
    answer: float
    open_item: float
    memory: int
    steps: int


def measure_pace(recipe: Recipe, data: OpenData, *, seconds: float, volumes: bool) -> Pace:
    """Take steps on some items for about `seconds`. Raises UserError as training would."""
    train_count, val_count = _ITEMS["volumes" if volumes else "pictures"]
    some = _some(data, train_count, val_count)
    net = build_net(recipe)
    opened = time.perf_counter()
    loaders = net.training_input.open(net.geometry, recipe, some)
    reading = (time.perf_counter() - opened) / (train_count + val_count)
    if registry.entry("model", recipe.model.type).learns != "gradient":
        return Pace(0.0, 0.0, 0.0, reading, _memory(), 0)
    if isinstance(loaders.train, ImageBatches):
        # Of some items alone a class may have none, which training would refuse.
        net.configure_loss(recipe.train, [max(1, count) for count in loaders.train.pictures.counts])
    optimiser = make_optimiser(net, recipe.train)
    if recipe.train.channels_last:
        net.to(memory_format=torch.channels_last)
    step, count = _timed_steps(net, optimiser, loaders.train, recipe, seconds=seconds)
    net.eval()
    val_item, answer = _timed_answers(net, loaders.val or loaders.train, recipe, limit=seconds / 2)
    return Pace(step, val_item, answer, reading, _memory(), count)


def _some(data: OpenData, train: int, val: int) -> OpenData:
    split = data.split
    step = max(1, len(split.train) // train)
    return replace(data, split=replace(split, train=split.train[::step][:train], val=split.val[:val], test=()))


def _timed_steps(net: Net, optimiser: Any, batches: Batches, recipe: Recipe, *, seconds: float) -> tuple[float, int]:
    net.train()
    times: list[float] = []
    began = time.perf_counter()
    for number in range(200):
        start = time.perf_counter()
        image, *target = batches.batch(number // max(1, len(batches)), number % max(1, len(batches)))
        if recipe.train.channels_last and image.ndim == 4:
            image = image.contiguous(memory_format=torch.channels_last)
        optimiser.zero_grad()
        total = torch.stack(list(net.loss(image, *target).values())).sum()
        total.backward()  # type: ignore[no-untyped-call]
        if recipe.train.clip:
            torch.nn.utils.clip_grad_norm_(net.parameters(), recipe.train.clip)
        optimiser.step()
        times.append(time.perf_counter() - start)
        if len(times) > _WARM and time.perf_counter() - began > seconds:
            break
    counted = sorted(times[_WARM:])
    # The mean without the slowest tenth: other processes of the machine come and go.
    kept = counted[: max(1, round(0.9 * len(counted)))]
    return sum(kept) / len(kept), len(counted)


def _timed_answers(net: Net, batches: Batches, recipe: Recipe, *, limit: float) -> tuple[float, float]:
    """Seconds of an item in validation (loss, and answers where they are monitored), and of an item's answer alone."""
    image, *target = batches.batch(0, 0)
    whole = image[0] if isinstance(image, (list, tuple)) else image
    count = max(1, len(whole))
    monitored = recipe.train.monitor not in (None, "loss")

    def validated() -> None:
        net.loss(image, *target)
        if monitored:
            net.predictions(image, target[0])

    with torch.no_grad():
        return _once(validated, limit) / count, _once(lambda: net(whole), limit) / count


def _once(call: Callable[[], object], limit: float) -> float:
    """Seconds of one call: the faster of two, or the first where it is slow."""
    start = time.perf_counter()
    call()
    first = time.perf_counter() - start
    if first > limit:
        return first
    start = time.perf_counter()
    call()
    return min(first, time.perf_counter() - start)


def _memory() -> int:
    """The most main memory that this process had, bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most if sys.platform == "darwin" else most * 1024)
