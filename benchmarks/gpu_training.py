"""Training on a GPU: images a second in bf16 by medzoo's trainer, and by a plain loop over the same batches.

    python -m benchmarks.gpu_training

Both take turns. Nothing is measured where there is no GPU.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from benchmarks.record import record, summary
from medzoo.inputs.batches import Batch
from medzoo.models.timm import TimmNet, TimmParams
from medzoo.nn.net import Spec
from medzoo.recipe import TrainSection
from medzoo.training.fit import fit_gradient
from medzoo.training.optimiser import make_optimiser

BATCH, SIZE, STEPS, WARM, ROUNDS = 128, (160, 192), 220, 20, 5
LABELS = ("benign", "malignant", "normal")


class Made:
    """The same few batches over and over, and when each of them was asked for."""

    def __init__(self, batch: int, steps: int) -> None:
        rng = np.random.default_rng(0)
        shape = (4, batch, 1, *SIZE)
        self.images = torch.from_numpy(rng.random(shape, np.float32) * 255)
        if torch.cuda.is_available():
            self.images = self.images.pin_memory()
        self.targets = torch.from_numpy(rng.integers(0, len(LABELS), shape[:2]))
        self.steps = steps
        self.asked: list[float] = []

    def __len__(self) -> int:
        return self.steps

    def batch(self, epoch: int, step: int, *, rank: int = 0, world: int = 1) -> Batch:
        """See Batches.batch."""
        self.asked.append(time.perf_counter())
        return self.images[step % 4], self.targets[step % 4]


def network() -> TimmNet:
    """The network of recipes/breast-ultrasound-cnn.yaml, with every layer trained."""
    torch.manual_seed(0)
    return TimmNet(TimmParams(network="efficientnet_lite0", size=SIZE), Spec("classify", LABELS))


def trained(settings: TrainSection, made: Made) -> float:
    """Images a second of medzoo's trainer, the first steps left out."""
    with tempfile.TemporaryDirectory() as folder:
        fit_gradient(network(), settings, made, None, folder=Path(folder), console=Console(quiet=True))
        # The last steps are done: fit_gradient brings the weights back to the CPU.
        seconds = time.perf_counter() - made.asked[WARM]
    return (len(made.asked) - WARM) * settings.batch / seconds


def plain(settings: TrainSection, made: Made) -> float:
    """Images a second of a loop as one would write it by hand, the first steps left out."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = network().to(device, memory_format=torch.channels_last).train()
    optimiser = make_optimiser(net, settings)
    begun = 0.0
    for step in range(len(made)):
        if step == WARM:
            begun = time.perf_counter()
        image, target = (part.to(device, non_blocking=True) for part in made.batch(0, step))
        with torch.autocast(device, torch.bfloat16):
            total = net.loss(image.contiguous(memory_format=torch.channels_last), target)["cross_entropy"]
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        optimiser.step()
    float(total.detach())  # until the device is done
    return (len(made) - WARM) * settings.batch / (time.perf_counter() - begun)


def measured(*, batch: int = BATCH, steps: int = STEPS, rounds: int = ROUNDS) -> dict[str, object]:
    """Both, in turns."""
    settings = TrainSection.model_validate(
        {"epochs": 1, "batch": batch, "precision": "bf16", "channels_last": True, "logger": ["csv"], "devices": 1}
    )
    rates: dict[str, list[float]] = {"trainer": [], "plain loop": []}
    ways: dict[str, Callable[[TrainSection, Made], float]] = {"trainer": trained, "plain loop": plain}
    for _ in range(rounds):
        for name, way in ways.items():
            rates[name].append(way(settings, Made(batch, steps)))
    ratios = [a / b for a, b in zip(rates["trainer"], rates["plain loop"], strict=True)]
    return {
        "network": "efficientnet_lite0",
        "size": list(SIZE),
        "batch": batch,
        "steps": steps,
        "images_a_second": {name: summary(values) for name, values in rates.items()},
        "trainer_over_plain": summary(ratios),
        "median_ratio": round(statistics.median(ratios), 3),
    }


def main() -> None:
    if not torch.cuda.is_available():
        print("not measured: there is no CUDA device here that torch can use", file=sys.stderr)
        return
    record("gpu_training", device=torch.cuda.get_device_name(), **measured())


if __name__ == "__main__":
    main()
