"""Trainings of every family that learns by gradient, in processes that are killed and resumed.

    killed_runs.py [--kills N] [--seed S] [--only FAMILY] FOLDER

Each family is trained once without a stop; then runs are killed with SIGKILL - when a drawn step has been saved and a
drawn few milliseconds have passed, while a state is being written, or at a drawn moment of the whole command - and go
on with resume. Prints one JSON line a kill; exit code 1 unless every run ended with the bits of the run that was never
stopped. Every run is a process of its own (forked, so that the packages are imported once).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from PIL import Image as Pillow

_CLASSIFY = """
task: classify
labels: [dark, bright]
data: {type: image-folder, root: PICTURES, split: {group: none, val: 0.2, test: 0.2, seed: 0}}
metrics: [auc, accuracy]
"""
_SEGMENT = """
task: segment
labels: [background, tissue]
data: {type: nifti-pairs, root: SCANS, image: "{patient}/t1.nii.gz", label: "{patient}/label.nii.gz",
  split: {group: patient, train: 4, val: 1, test: 1}}
metrics: [dice]
"""
_DETECT = """
task: detect
labels: [lesion]
data: {type: mask-boxes, root: BOXES, image: "{name}.png", mask: "masks/{name}.png",
  split: {group: none, val: 0.2, test: 0.2}, allow_leaks: true}
metrics: [ap50]
"""
_HARD = "ema: 0.9, accumulate: 2, warmup: 3, clip: 1, deterministic: true, checkpoint: {every_steps: 1, keep: 3}"
FAMILIES: Mapping[str, str] = {
    "lenet": _CLASSIFY
    + """
model: {type: lenet, variant: full, dropout: 0.3}
train: {epochs: 5, batch: 4, mixup: 0.3, monitor: auc, class_weights: balanced, HARD,
  augment: [{op: flip, axis: x}, {op: gamma, strength: 0.3}, {op: cutout, side: 0.25}]}
""",
    "lenet-fp16": _CLASSIFY
    + """
model: {type: lenet, variant: full}
train: {epochs: 4, batch: 4, precision: fp16, optimizer: sgd, schedule: step, HARD}
""",
    "lenet-ensemble": _CLASSIFY
    + """
model: {type: lenet, variant: full, members: 2}
train: {epochs: 4, batch: 4, early_stopping: 20, HARD}
""",
    "alexnet": _CLASSIFY
    + """
model: {type: alexnet, size: [64, 64], widths: [4, 6, 8, 8, 6], hidden: [16, 16], dropout: 0.5}
train: {epochs: 4, batch: 4, focal: 2, workers: 1, HARD}
""",
    "timm": _CLASSIFY
    + """
model: {type: timm, network: test_efficientnet, size: [32, 40], drop_path: 0.2}
train: {epochs: 4, batch: 4, mixup: 0.4, label_smoothing: 0.1, channels_last: true, HARD}
""",
    "patch-cnn": _SEGMENT
    + """
model: {type: patch-cnn, channels: [4, 6, 8], hidden: 8, dropout: 0.5}
train: {epochs: 4, steps_per_epoch: 10, batch: 16, HARD}
""",
    "unet": _SEGMENT
    + """
model: {type: unet, dims: 2, channels: [4, 4, 8, 8, 8], crop: 32}
train: {epochs: 4, steps_per_epoch: 10, batch: 4, HARD}
""",
    "region-cnn": _DETECT
    + """
model: {type: region-cnn, TINY}
train: {epochs: 4, batch: 4, monitor: ap, HARD, augment: [{op: flip, axis: x}, {op: intensity, contrast: 0.2}]}
""",
    "rcnn-classic": _DETECT
    + """
preprocess: {host: [{op: selective-search, side: 64, smallest: 0.1, count: 30, size: [32, 32], context: 4}]}
model: {type: rcnn-classic, backbone: test_efficientnet, channels: 1, norm: batch, detections: 16, background: 10}
train: {epochs: 4, batch: 16, steps_per_epoch: 6, HARD, augment: [{op: flip, axis: x}, {op: intensity, contrast: 0.2}]}
""",
}


def make_data(folder: Path) -> None:
    """Pictures whose brightness tells the class, pictures with bright rectangles, scans with a bright cube."""
    rng = np.random.default_rng(0)
    for k in range(40):
        kind = ("dark", "bright")[k % 2]
        (folder / "pictures" / kind).mkdir(parents=True, exist_ok=True)
        grey = (rng.random((36, 40)) * 120 + 80 * (k % 2)).astype(np.uint8)
        Pillow.fromarray(grey).save(folder / "pictures" / kind / f"{k}.png")
    (folder / "boxes" / "masks").mkdir(parents=True)
    for k in range(30):
        mask = np.zeros((64, 72), np.uint8)
        x, y = rng.integers(4, 36, 2)
        mask[y : y + 20, x : x + 24] = 255
        grey = np.clip(mask * 0.6 + rng.integers(0, 60, mask.shape), 0, 255).astype(np.uint8)
        Pillow.fromarray(grey).save(folder / "boxes" / f"{k}.png")
        Pillow.fromarray(mask).save(folder / "boxes" / "masks" / f"{k}.png")
    for k in range(6):
        place = folder / "scans" / f"p{k}"
        place.mkdir(parents=True)
        label = np.zeros((36, 34, 30), np.uint8)
        low = rng.integers(4, 12, 3)
        label[low[0] : low[0] + 16, low[1] : low[1] + 16, low[2] : low[2] + 14] = 1
        scan = (label * 60 + rng.integers(1, 60, label.shape)).astype(np.int16)
        nibabel.Nifti1Image(scan, np.eye(4)).to_filename(place / "t1.nii.gz")
        nibabel.Nifti1Image(label, np.eye(4)).to_filename(place / "label.nii.gz")


def write_recipes(folder: Path) -> dict[str, Path]:
    """A recipe file a family."""
    from medzoo.models.region_cnn import ENTRY

    tiny = json.dumps(dict(ENTRY.tiny))[1:-1]
    found = {}
    for name, text in FAMILIES.items():
        for word in ("pictures", "scans", "boxes"):
            text = text.replace(word.upper(), str(folder / word))
        path = folder / f"{name}.yaml"
        path.write_text(f"medzoo: 1\nname: {name}\n{text.replace('HARD', _HARD).replace('TINY', tiny)}")
        found[name] = path
    return found


def started(recipe: Path, out: Path, *, resume: bool) -> int:
    """A training in a process of its own; its number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        with (out.parent / f"{out.name}.log").open("a") as log, redirect_stderr(log):
            from rich.console import Console

            from medzoo.commands.train import train

            try:
                train(recipe, out=out, resume=resume, console=Console(file=log, width=200))
                code = 0
            except BaseException:
                import traceback

                traceback.print_exc(file=log)
    finally:
        os._exit(code)
    raise AssertionError


def ended(child: int) -> int:
    """The exit code of a process, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def learned(out: Path) -> dict[str, Any]:
    """Results that must not depend on how often a run was stopped."""
    manifest = json.loads((out / "manifest.json").read_text())
    training = manifest["training"]
    return {
        "weights": manifest["files"]["model.safetensors"]["sha256"],
        "steps": training["steps"],
        "best": training["best_val_loss"],
        "validations": [row for row in training["curve"] if row[2] is not None],
        "figures": [figure["value"] for figure in manifest["metrics"]["figures"]],
    }


def kill(child: int, out: Path, how: str, draw: random.Random, *, steps: int, seconds: float) -> str | None:
    """Kill a run at a moment of the kind `how`; what was seen of it then, None if it had ended before."""
    step, pause, moment = draw.randint(1, steps), draw.uniform(0, 0.05), draw.uniform(0, seconds)
    begun = time.monotonic()
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        names = [name for _, _, files in os.walk(out / "training") for name in files]
        states = [int(name.split("-")[1]) for name in names if name.startswith("step-")]
        if how == "any":
            due = time.monotonic() - begun >= moment
        elif how == "write":
            due = max(states, default=0) >= min(step, steps // 2) and any(
                name.startswith(".") and name.endswith(".ckpt") for name in names
            )
        else:
            due = max(states, default=0) >= step
            if due:
                time.sleep(pause)
        if due:
            os.kill(child, signal.SIGKILL)
            if ended(child) != -signal.SIGKILL:
                return None
            half = sum(1 for path in (out / "training").rglob(".*.ckpt") if path.is_file())
            return f"after step {max(states, default=0)}, {half} states half written"
    ended(child)
    return None


def main(kills: int, seed: int, folder: Path, say: Callable[[str], object] = print, *, only: str | None = None) -> int:
    """Train, kill and compare; how many runs did not end as the one that was never stopped."""
    import torch

    import medzoo.commands.train
    import medzoo.training.fit  # noqa: F401  (once, before the forks)

    torch.set_num_threads(1)
    draw = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    make_data(folder)
    recipes = {name: path for name, path in write_recipes(folder).items() if only in (None, name)}
    whole: dict[str, Any] = {}
    took: dict[str, float] = {}
    for name, recipe in recipes.items():
        begun = time.monotonic()
        code = ended(started(recipe, folder / name, resume=False))
        if code:
            say((folder / f"{name}.log").read_text())
            return kills
        whole[name], took[name] = learned(folder / name), time.monotonic() - begun
    names = list(recipes)
    wrong = 0
    for number in range(kills):
        name = names[number % len(names)]
        how = ("step", "write", "any")[(number // len(names) + number) % 3]
        out = folder / f"{name}-{number}"
        seen = None
        while seen is None:
            child = started(recipes[name], out, resume=False)
            # Half the steps of an ensemble are those of one member.
            steps = whole[name]["steps"] // (2 if "ensemble" in name else 1)
            seen = kill(child, out, how, draw, steps=steps - 1, seconds=took[name])
        code = ended(started(recipes[name], out, resume=True))
        same = not code and learned(out) == whole[name]
        wrong += not same
        say(json.dumps({"family": name, "kill": how, "at": seen, "identical": same}))
        if not same:
            say((folder / f"{out.name}.log").read_text()[-3000:])
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--only", choices=FAMILIES, help="of one family")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args()
    print(json.dumps({"seed": asked.seed}), flush=True)
    sys.exit(bool(main(asked.kills, asked.seed, asked.folder, lambda text: print(text, flush=True), only=asked.only)))
