"""Ratios of the picture classifiers: ONNX Runtime against torch, the trainer against a plain loop, the loader.

    python -m benchmarks.classifier

Each ratio is measured side by side in one run: rounds of the two are interleaved, medians and spread are told. What is
measured is kept part by part, with the load of the machine before it.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from benchmarks.record import record
from medzoo.augment.ops.affine import Affine
from medzoo.augment.ops.flip import Flip
from medzoo.augment.ops.intensity import Intensity
from medzoo.data.dataset import Item, Sample
from medzoo.export.onnx_file import onnx_bytes
from medzoo.inputs.batches import Batch, Loader
from medzoo.inputs.images import ImageBatches
from medzoo.inputs.pictures import Pictures
from medzoo.models.alexnet import AlexNet, AlexNetParams
from medzoo.models.lenet import LeNet, LeNetParams
from medzoo.nn.net import Spec
from medzoo.recipe import TrainSection
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.metadata import Metadata
from medzoo.training.fit import fit_gradient
from medzoo.training.optimiser import make_optimiser, make_schedule
from medzoo.types import Image

LABELS = ("benign", "malignant", "normal")


def interleaved(one: Callable[[], object], two: Callable[[], object], *, rounds: int) -> dict[str, Any]:
    """Seconds of both, median and quartiles, and how many times longer the second takes."""
    times: tuple[list[float], list[float]] = ([], [])
    for index in range(rounds + 1):
        for work, column in zip((one, two), times, strict=True):
            start = time.perf_counter()
            work()
            if index:  # the first round warms both up
                column.append(time.perf_counter() - start)
    ratios = [b / a for a, b in zip(*times, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    return {
        "seconds": [statistics.median(column) for column in times],
        "ratio": statistics.median(ratios),
        "quartiles": [low, high],
        "rounds": rounds,
    }


def onnx_against_torch(variant: str, *, threads: int, batch: int = 8, rounds: int = 9) -> dict[str, Any]:
    """Speedup of ONNX Runtime over eager PyTorch, both on `threads` threads."""
    torch.set_num_threads(threads)
    side = 227 if variant == "2012" else 224
    spec = Spec("classify", tuple(map(str, range(1000))))
    net = AlexNet(AlexNetParams.model_validate({"variant": variant, "size": (side, side)}), spec).eval()
    facts = Metadata(
        name="alexnet",
        task="classify",
        labels=tuple(spec.labels),
        inputs=net.inputs,
        outputs=net.outputs,
        geometry=net.geometry,
    )
    images = (np.random.default_rng(0).random((batch, 3, side, side)) * 255).astype(np.float32)
    backend = OnnxBackend(onnx_bytes(net, facts, example={"image": images}), where="alexnet", device="cpu")
    tensor = torch.from_numpy(images)

    def eager() -> None:
        with torch.inference_mode():
            net(tensor)

    return interleaved(lambda: backend.run({"image": images}), eager, rounds=rounds)


class Shapes:
    """Ultrasound-sized pictures as PNG files would be decoded: noise with a blob, made when asked for."""

    def __init__(self, count: int) -> None:
        self.count = count

    def items(self) -> list[Item]:
        return [Item(str(i), {}, stratum=LABELS[i % 3]) for i in range(self.count)]

    def load(self, item: Item) -> Sample:
        rng = np.random.default_rng(int(item.id))
        return Sample(item, Image(rng.integers(0, 255, (1, 480, 560), np.uint8), None, item.id), int(item.id) % 3)


class Held:
    """The same batch in memory, `steps` times an epoch."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.images, self.targets = torch.rand(16, 1, 32, 32) * 255, torch.arange(16) % 3

    def __len__(self) -> int:
        return self.steps

    def batch(self, epoch: int, step: int, *, rank: int = 0, world: int = 1) -> Batch:
        return self.images, self.targets


def trainer_overhead(*, short: int = 50, long: int = 250, rounds: int = 15) -> dict[str, Any]:
    """Milliseconds that fit_gradient adds to a step of a plain loop, with and without logging.

    From the difference of a long and a short run, so that starting up and ending do not count; of each the fastest of
    all rounds, for what is looked for is smaller than a shared machine's changes of pace.
    """
    torch.set_num_threads(1)

    def make() -> LeNet:
        torch.manual_seed(0)
        return LeNet(LeNetParams(variant="full"), Spec("classify", LABELS))

    def plain(settings: TrainSection, steps: int) -> None:
        net, feed = make().train(), Held(steps)
        optimiser = make_optimiser(net, settings)
        schedule = make_schedule(optimiser, settings, steps=steps)
        for step in range(steps):
            total = torch.stack(list(net.loss(*feed.batch(0, step)).values())).sum()
            optimiser.zero_grad()
            total.backward()
            optimiser.step()
            schedule.step()

    def trained(settings: TrainSection, steps: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            fit_gradient(make(), settings, Held(steps), None, folder=Path(folder), console=Console(quiet=True))

    def seconds(run: Callable[[TrainSection, int], None], settings: TrainSection, steps: int) -> float:
        start = time.perf_counter()
        run(settings, steps)
        return time.perf_counter() - start

    found: dict[str, Any] = {}
    for name, loggers in (("with logging", ("csv",)), ("without logging", ())):
        settings = TrainSection.model_validate({"epochs": 1, "batch": 16, "logger": loggers})
        took: dict[tuple[str, int], list[float]] = {}
        for _ in range(rounds):
            for steps in (short, long):
                for run in (plain, trained):
                    took.setdefault((run.__name__, steps), []).append(seconds(run, settings, steps))
        step = {
            run: 1000 * (min(took[run, long]) - min(took[run, short])) / (long - short) for run in ("plain", "trained")
        }
        found[name] = {
            "added_ms_a_step": step["trained"] - step["plain"],
            "plain_ms_a_step": step["plain"],
            "rounds": rounds,
        }
    return found


def loader_ratio(*, rounds: int = 3) -> dict[str, Any]:
    """Step time with the loader, over the step time on batches that lie in memory; decoded pictures are kept."""
    torch.set_num_threads(1)
    data = Shapes(64)
    params = AlexNetParams(channels=1, size=(224, 224), widths=(48, 128, 192, 192, 128), hidden=(512, 256))
    torch.manual_seed(0)
    net = AlexNet(params, Spec("classify", LABELS)).train()
    pictures = Pictures(data, data.items(), (), labels=LABELS, channels=1, size=net.canvas)
    pictures.decode(on_bad_image="stop")
    feed = ImageBatches(pictures, batch=16, seed=0, augmentations=(Affine(), Flip(), Intensity()))
    held = [feed.batch(0, step) for step in range(len(feed))]
    optimiser = torch.optim.SGD(net.parameters(), lr=1e-4)

    def steps(batches: Any) -> None:
        for image, target in batches:
            total = net.loss(image, target)["cross_entropy"]
            optimiser.zero_grad()
            total.backward()
            optimiser.step()

    return {
        "in the training's own process": interleaved(lambda: steps(held), lambda: steps(Loader(feed)), rounds=rounds),
        "one worker process": interleaved(lambda: steps(held * 4), lambda: steps(_epochs(feed, 4)), rounds=rounds),
    }


def _epochs(feed: ImageBatches, count: int) -> Any:
    long = ImageBatches(
        feed.pictures, batch=feed.size, seed=0, steps=count * len(feed), augmentations=feed.augmentations
    )
    return Loader(long, workers=1)


def main() -> None:
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        **{
            f"alexnet {variant}: torch eager over ONNX Runtime, batch 8": partial(
                onnx_against_torch, variant, threads=os.cpu_count() or 1
            )
            for variant in ("slides", "2012")
        },
        "trainer over a plain loop": trainer_overhead,
        "loader over memory": loader_ratio,
    }
    found: dict[str, Any] = {}
    for name, measure in parts.items():
        load = round(os.getloadavg()[0], 1)
        found[name] = {"load_before": load, **measure()}
        record("classifier", **found)


if __name__ == "__main__":
    main()
