"""Memory of a training on more data than it holds: 100,000 small pictures, 500 volumes, made by a generator.

    python -m benchmarks.streams [--kind pictures|scans] [--share 0.1] [--folder FOLDER]

What `medzoo train` does between the audit of the data and the export runs in a process of its own, whose resident
memory is sampled. Growth is the most that it takes in the second half of the training's steps, over the most in the
first half. Only what was run in full is recorded.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image as Pillow

from benchmarks.record import FOLDER, record

PICTURES, SCANS = 100_000, 500
EPOCHS = {"pictures": 2, "scans": 4}
RECIPES = {
    "pictures": """medzoo: 1
name: many-pictures
task: classify
labels: [dark, bright]
data: {type: image-folder, root: ROOT, allow_leaks: true, split: {group: none, val: 200, test: 200, seed: 0}}
model: {type: lenet, variant: full}
train: {epochs: EPOCHS, batch: 64, lr: 1e-3, checkpoint: {every_steps: EVERY}}
metrics: [auc]
""",
    "scans": """medzoo: 1
name: many-scans
task: segment
labels: [background, tissue]
data:
  type: nifti-pairs
  root: ROOT
  image: "{patient}/t1.nii.gz"
  label: "{patient}/label.nii.gz"
  allow_leaks: true
  split: {group: patient, val: 4, test: 4, seed: 0}
preprocess: {host: [{op: orient, to: RAS}, {op: zscore}]}
model: {type: unet, dims: 2, slices: 3, channels: [4, 8, 8, 8, 8], crop: 64}
train: {epochs: EPOCHS, steps_per_epoch: 100, batch: 8, checkpoint: {every_steps: EVERY}}
metrics: [dice]
""",
}


def make_pictures(folder: Path, count: int) -> None:
    """28 x 28, brightness tells the class, no two alike."""
    rng = np.random.default_rng(0)
    for k in range(count):
        place = folder / ("dark", "bright")[k % 2] / f"{k // 1000:03}"
        if k % 1000 < 2:
            place.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 150, (5, 5)) + 60 * (k % 2)
        grey = np.kron(coarse, np.ones((6, 6)))[:28, :28] + rng.integers(0, 30, (28, 28))
        Pillow.fromarray(grey.astype(np.uint8)).save(place / f"{k}.png", compress_level=1)


def make_scans(folder: Path, count: int) -> None:
    """96 x 96 x 64 with a bright block, no two alike, packed."""
    rng = np.random.default_rng(0)
    for k in range(count):
        place = folder / f"p{k:03}"
        place.mkdir(parents=True)
        label = np.zeros((96, 96, 64), np.uint8)
        low = rng.integers(8, 30, 3)
        label[low[0] : low[0] + 40, low[1] : low[1] + 40, low[2] : low[2] + 24] = 1
        coarse = np.kron(rng.integers(0, 100, (12, 12, 8)), np.ones((8, 8, 8))) + rng.integers(1, 40, label.shape)
        for name, array in (("t1", (coarse + 80 * label).astype(np.int16)), ("label", label)):
            image = nibabel.Nifti1Image(array, np.eye(4))
            with nibabel.openers.Opener(place / f"{name}.nii.gz", "wb", compresslevel=1) as file:
                image.to_file_map(
                    {"image": nibabel.FileHolder(fileobj=file), "header": nibabel.FileHolder(fileobj=file)}
                )


def memory(pid: int) -> dict[str, int]:
    """Resident bytes of a process: all, and without the pages of files, which the system takes back when it must."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith(("VmRSS", "RssAnon"))}
    return {"all": 1024 * int(fields["VmRSS"]), "own": 1024 * int(fields["RssAnon"])}


def bytes_of(folder: Path) -> int:
    """Of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def sampled(recipe: Path, out: Path, environment: dict[str, str]) -> tuple[list[tuple[int, dict[str, int]]], float]:
    """(step, memory) while the training goes on, by the newest saved state; and seconds of the whole command."""
    command = [sys.executable, "-m", "benchmarks.streams", "--train", str(recipe), "--folder", str(out)]
    samples = []
    start = time.perf_counter()
    with (out.parent / f"{out.name}.log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log, env=environment)
        while process.poll() is None:
            states = [int(path.name.split("-")[1]) for path in (out / "training" / "checkpoints").glob("step-*.ckpt")]
            try:
                samples.append((max(states, default=0), memory(process.pid)))
            except (OSError, KeyError):  # it ended just now
                break
            time.sleep(0.1)
    if process.wait():
        sys.exit((out.parent / f"{out.name}.log").read_text())
    return samples, time.perf_counter() - start


def train(recipe: Path, out: Path) -> None:
    """Open, decode, fit: the training without its audit and its export. Leaves out/report.json."""
    from rich.console import Console

    from medzoo.data.catalog import Catalog
    from medzoo.data.opened import open_data
    from medzoo.nn.weights import build_net
    from medzoo.recipe import load_recipe
    from medzoo.training.fit import fit_gradient

    loaded = load_recipe(recipe, (), catalog=Catalog())
    net = build_net(loaded)
    loaders = net.training_input.open(net.geometry, loaded, open_data(loaded))
    report = fit_gradient(
        net, loaded.train, loaders.train, loaders.val, folder=out / "training", console=Console(stderr=True)
    )
    (out / "report.json").write_text(json.dumps(report.to_dict()))


def measure(kind: str, share: float, folder: Path) -> dict[str, object]:
    """Make the data, train, and tell."""
    count = round(share * (PICTURES if kind == "pictures" else SCANS))
    data = folder / kind
    (make_pictures if kind == "pictures" else make_scans)(data, count)
    steps = EPOCHS[kind] * (100 if kind == "scans" else -(-(count - 400) // 64))
    text = RECIPES[kind].replace("ROOT", str(data)).replace("EPOCHS", str(EPOCHS[kind]))
    recipe = folder / f"{kind}.yaml"
    recipe.write_text(text.replace("EVERY", str(max(1, steps // 40))))
    environment = {"MEDZOO_CACHE": str(folder / "cache"), **os.environ}
    samples, seconds = sampled(recipe, folder / f"run-{kind}", environment)
    report = json.loads((folder / f"run-{kind}" / "report.json").read_text())
    halves = [
        [m for step, m in samples if low * steps <= step < high * steps] for low, high in ((0.025, 0.5), (0.5, 0.96))
    ]
    peaks = [{name: max(m[name] for m in half) for name in ("all", "own")} for half in halves]
    return {
        "kind": kind,
        "items": count,
        "data_mb": round(bytes_of(data) / 1e6),
        "as_float32_mb": round(count * (28 * 28 if kind == "pictures" else 96 * 96 * 64) * 4 / 1e6),
        "steps": report["steps"],
        "seconds": round(seconds),
        "seconds_of_training": round(report["seconds"]),
        "waits_for": report["bottleneck"],
        "resident_mb": [round(peak["all"] / 1e6) for peak in peaks],
        "own_mb": [round(peak["own"] / 1e6) for peak in peaks],
        "growth": round(peaks[1]["all"] / peaks[0]["all"], 3),
        "peak_mb_of_the_command": round(max(m["all"] for _, m in samples) / 1e6),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kind", choices=("pictures", "scans"))
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--train", type=Path, metavar="RECIPE", help="what the measured process is started with")
    asked = parser.parse_args()
    if asked.train:
        train(asked.train, asked.folder)
        return
    kinds = [asked.kind] if asked.kind else ["pictures", "scans"]
    with tempfile.TemporaryDirectory() as made:
        rows = [measure(kind, asked.share, asked.folder or Path(made)) for kind in kinds]
    if asked.share == 1:
        before = FOLDER / "streams.json"
        other = json.loads(before.read_text())["rows"] if before.is_file() else []
        record("streams", rows=[row for row in other if row["kind"] not in kinds] + rows)
    for row in rows:
        print(json.dumps(row))
    print("growth", max(float(str(row["growth"])) for row in rows))


if __name__ == "__main__":
    main()
