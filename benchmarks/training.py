"""Cost of checkpoints and of further processes to a training, side by side in one run.

    python -m benchmarks.training [--only saving|kills|processes|start] [--rounds 3]

- saving: time that saving the state takes over the time of the run, at the recipes' own pace (after every epoch).
- kills: batches that are done again after a SIGKILL, over those that the asked interval holds.
- processes: samples a second of two processes with a thread each over those of one process with two threads.
- start: seconds from `medzoo train` to the first batch, beyond what importing Lightning takes.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import FOLDER, machine, record, summary

ROUNDS = 3
WARM = 3  # batches whose time does not count in a pace
STEPS = {"breast-ultrasound-cnn": 8, "brain-tissue-unet": 12}  # steps of a run whose pace is taken
NETS: dict[str, dict[str, Any]] = {
    # The networks of recipes/, on made-up pictures and scans of their size.
    "breast-ultrasound-cnn": {
        "type": "timm",
        "params": {"network": "efficientnet_lite0", "size": [160, 192], "freeze": ["conv_stem", "bn1", "blocks.0"]},
        "batch": 16,
        "steps_per_epoch": 35,
        "ema": 0.98,
    },
    "brain-tissue-unet": {
        "type": "unet",
        "params": {"dims": 2, "slices": 5, "channels": [16, 32, 64, 128, 128], "crop": 96},
        "batch": 8,
        "steps_per_epoch": 125,
        "ema": None,
    },
}


def fit(name: str, folder: Path, *, steps: int, **train: Any) -> dict[str, Any]:
    """Train one of NETS for so many steps on made-up data; seconds in all, on saving, and samples a second."""
    import torch
    from rich.console import Console

    from medzoo import registry
    from medzoo.nn.net import Spec
    from medzoo.recipe import TrainSection
    from medzoo.training.checkpoints import Checkpoints
    from medzoo.training.fit import fit_gradient

    facts = NETS[name]
    entry = registry.entry("model", facts["type"])
    torch.manual_seed(0)
    net = entry.build(entry.params.model_validate(facts["params"]), Spec(entry.task, ("a", "b", "c")))
    settings = TrainSection(
        **{"epochs": 1000, "max_steps": steps, "batch": facts["batch"], "ema": facts["ema"], "logger": (), **train}
    )
    spent: list[float] = []
    whole = Checkpoints.save

    def save(self: Any, trainer: Any) -> None:
        whole(self, trainer)
        spent[:] = [self.seconds]

    Checkpoints.save = save  # type: ignore[method-assign]
    batches = feed(net, facts)
    report = fit_gradient(net, settings, batches, None, folder=folder, console=Console(quiet=True))
    Checkpoints.save = whole  # type: ignore[method-assign]
    return {
        "seconds": report.seconds,
        "saving": sum(spent),
        "rate": batches.pace() * settings.batch,
        "steps": report.steps,
    }


class Made:
    """The same few batches over and over: all that is measured is the training."""

    def __init__(self, image: Any, target: Any, steps: int) -> None:
        self.image, self.target, self.steps = image, target, steps
        self.asked: list[float] = []

    def pace(self) -> float:
        """Batches a second, but for the first few, which choose kernels and fill buckets."""
        times = self.asked[WARM:]
        return (len(times) - 1) / (times[-1] - times[0])

    def __len__(self) -> int:
        return self.steps

    def batch(self, epoch: int, step: int, *, rank: int = 0, world: int = 1) -> tuple[Any, ...]:
        """See Batches.batch."""
        self.asked.append(time.perf_counter())
        return self.image[rank::world], self.target[rank::world]


def feed(net: Any, facts: dict[str, Any]) -> Made:
    """Batches of noise in the shape that a net asks for."""
    import torch

    rng = np.random.default_rng(0)
    channels, size = net.geometry.channels * net.geometry.slices, tuple(net.training_input.size)
    image = torch.from_numpy(rng.random((facts["batch"], channels, *size), np.float32) * 255)
    shape = (facts["batch"], *size) if facts["type"] == "unet" else (facts["batch"],)
    return Made(image, torch.from_numpy(rng.integers(0, 3, shape)), facts["steps_per_epoch"])


def saving(folder: Path, rounds: int) -> list[dict[str, Any]]:
    """Seconds of one state over those of the steps between two, at the recipes' own pace: one after every epoch."""
    rows = []
    for name, facts in NETS.items():
        shares, states = [], []
        for _ in range(rounds):
            found = fit(name, folder / name, steps=10, checkpoint={"every_steps": 3})
            states.append(found["saving"] / 3)
            step = (found["seconds"] - found["saving"]) / found["steps"]
            shares.append(states[-1] / (facts["steps_per_epoch"] * step))
        rows.append({"name": name, "seconds_of_a_state": summary(states), "share_of_the_run": summary(shares)})
    return rows


def counted(path: Path) -> None:
    """From here on, every training of this process writes the steps it has done, and when it began, to a file."""
    from medzoo.training.gradient import GradientModule

    file = path.open("r+b")
    place = mmap.mmap(file.fileno(), 16)
    begin = GradientModule.on_train_batch_start

    def count(self: Any, batch: Any, index: int) -> None:
        begun = struct.unpack("qd", place[:16])[1]
        place[:16] = struct.pack("qd", self.trainer.global_step, begun or time.monotonic())
        begin(self, batch, index)

    GradientModule.on_train_batch_start = count  # type: ignore[method-assign]


def kills(folder: Path, rounds: int, *, minutes: float = 0.1) -> dict[str, Any]:
    """SIGKILL at random moments of runs that save every so many minutes: batches done since the newest state."""
    from medzoo.training.checkpoints import list_checkpoints, step_of

    draw = random.Random(0)
    beyond: list[float] = []
    lost: list[int] = []
    for number in range(rounds + 1):
        out, place = folder / f"killed-{number}", folder / f"steps-{number}"
        place.write_bytes(bytes(16))
        options = ["--fit", "breast-ultrasound-cnn", "--minutes", str(minutes), "--count", str(place)]
        child = subprocess.Popen([sys.executable, "-m", "benchmarks.training", *options, "--out", str(out)])
        while not list_checkpoints(out / "checkpoints") and child.poll() is None:
            time.sleep(0.05)
        time.sleep(draw.uniform(0, 120 * minutes))
        child.kill()
        child.wait()
        done, begun = struct.unpack("qd", place.read_bytes())
        pace = done / (time.monotonic() - begun)  # batches a second
        newest = max(step_of(path) for path in list_checkpoints(out / "checkpoints"))
        lost.append(done - newest)
        beyond.append(round(max(0.0, done - newest - 60 * minutes * pace), 2))
    return {"interval_minutes": minutes, "batches_lost": lost, "batches_lost_beyond_the_interval": beyond}


def processes(folder: Path, rounds: int) -> list[dict[str, Any]]:
    """In turns: one process with two threads, two processes with one each."""
    rows = []
    for name in NETS:
        rates: dict[int, list[float]] = {1: [], 2: []}
        for number in range(rounds):
            for devices in (1, 2):
                out = folder / f"{name}-{devices}-{number}.json"
                command = [sys.executable, "-m", "benchmarks.training", "--fit", name, "--devices", str(devices)]
                threads = str(3 - devices)
                environment = {**os.environ, "OMP_NUM_THREADS": threads, "CUDA_VISIBLE_DEVICES": ""}
                subprocess.run([*command, "--out", str(out)], env=environment, check=True)
                rates[devices].append(json.loads(out.read_text())["rate"])
        ratios = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
        rows.append(
            {
                "name": name,
                "samples_a_second": {k: summary(v) for k, v in rates.items()},
                "two_over_one": summary(ratios),
            }
        )
    return rows


_START = """
import os, time, sys
begun = float(sys.argv[1])
def used():
    return sum(os.times()[:4])
before, first_used = time.time(), used()
import pytorch_lightning, torch
imported, then = time.time(), used()
from medzoo.training.gradient import GradientModule
def first(self, batch, index):
    print(before - begun + time.time() - imported, first_used + used() - then, flush=True)
    os._exit(0)
GradientModule.on_train_batch_start = first
from medzoo.commands.train import train
train(sys.argv[2], out=sys.argv[3])
"""


def start(folder: Path, rounds: int) -> list[dict[str, Any]]:
    """From the command to its first batch: recipes on data that are there; the first time, and with what that left in
    the cache."""
    rows = []
    for recipe in ("breast-ultrasound-cnn", "breast-lesion-rcnn", "brain-tissue-mni", "brain-tissue-unet"):
        seconds, cores = [], []
        environment = {**os.environ, "MEDZOO_CACHE": str(folder / f"{recipe}-cache")}
        for number in range(1 + rounds):
            command = [sys.executable, "-c", _START, str(time.time()), recipe, str(folder / f"{recipe}-{number}")]
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            if done.returncode:
                sys.exit(done.stderr)
            wall, core = map(float, done.stdout.split())
            seconds.append(wall)
            cores.append(core)
        rows.append(
            {
                "name": recipe,
                "first_time": {"seconds_beyond_lightning": seconds[0], "core_seconds_beyond_lightning": cores[0]},
                "seconds_beyond_lightning": summary(seconds[1:]),
                # What a busy machine does not lengthen as much.
                "core_seconds_beyond_lightning": summary(cores[1:]),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=("saving", "kills", "processes", "start"))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--fit", metavar="NET", help="what a measured process is started with")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--minutes", type=float, help="save so often, without an end")
    parser.add_argument("--count", type=Path, help="file of the steps done")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if asked.fit and asked.minutes:
        counted(asked.count)
        fit(asked.fit, asked.out, steps=10**6, checkpoint={"every_minutes": asked.minutes})
        return
    if asked.fit:
        with tempfile.TemporaryDirectory() as made:
            never = {"every_steps": 10**6}
            facts = fit(asked.fit, Path(made), steps=STEPS[asked.fit], devices=asked.devices, checkpoint=never)
        asked.out.write_text(json.dumps(facts))
        return
    before = FOLDER / "training.json"
    found = json.loads(before.read_text()) if before.is_file() else {}
    for name in ("benchmark", "environment"):
        found.pop(name, None)
    with tempfile.TemporaryDirectory() as made:
        for measured in (saving, kills, processes, start):
            if asked.only in (None, measured.__name__):
                # Written as each is done: what was not asked for stays as it was.
                load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
                rows = measured(Path(made), asked.rounds)
                facts = {"rounds": asked.rounds, "load_before": load, "machine": machine()}
                found[measured.__name__] = {**facts, "rows": rows}
                record("training", **found)


if __name__ == "__main__":
    main()
