"""Growth of a training's time and memory with its data, its model and its devices.

    python -m benchmarks.scaling [--page]

Every point is a process of its own, measured here; lines go on beyond the points as the model below says, and are drawn
dashed there. Writes results/scaling.json, docs/images/scaling.png and the tables of docs/scaling.md; `--page` draws
again from the results that are there.

Model of a step on n processes: t(n) = c / n + 2 (n - 1) / n * g / b + l * (n - 1), with c the seconds that one process
computes, g the bytes of the gradients, b and l the bandwidth and latency of an all-reduce (a ring; Patarasuk and Yuan,
J. Parallel Distrib. Comput. 69:117, 2009). b and l are measured between two processes of this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import FOLDER, record
from benchmarks.streams import make_pictures

PICTURES = (1000, 4000, 16000)
WIDTHS = (1, 2, 3, 4)
FITTED = 3  # of the widths: the last is foretold from them and compared
DEVICES = (1, 2)
FAR = {"pictures": 100_000, "devices": 16}
ROOT = Path(__file__).resolve().parent.parent
PAGE, PLOT = ROOT / "docs" / "scaling.md", ROOT / "docs" / "images" / "scaling.png"


def of_data(folder: Path, count: int) -> dict[str, Any]:
    """One epoch of LeNet on so many pictures of 28 x 28: seconds until the first batch, of the epoch; memory."""
    from rich.console import Console

    from medzoo.data.catalog import Catalog
    from medzoo.data.opened import open_data
    from medzoo.nn.weights import build_net
    from medzoo.recipe import load_recipe
    from medzoo.training.fit import fit_gradient

    recipe = folder / "pictures.yaml"
    recipe.write_text(
        "medzoo: 1\nname: many\ntask: classify\nlabels: [dark, bright]\nmetrics: [auc]\n"
        f"data: {{type: image-folder, root: {folder / 'pictures'}, split: {{group: none, val: 100, test: 100}}}}\n"
        "model: {type: lenet, variant: full}\ntrain: {epochs: 1, batch: 64, logger: []}\n"
    )
    start = time.perf_counter()
    loaded = load_recipe(recipe, (), catalog=Catalog())
    net = build_net(loaded)
    loaders = net.training_input.open(net.geometry, loaded, open_data(loaded))
    opened = time.perf_counter() - start
    report = fit_gradient(net, loaded.train, loaders.train, None, folder=folder / "run", console=Console(quiet=True))
    return {"pictures": count, "opening": opened, "epoch": report.seconds, "memory": peak()}


def of_model(width: int) -> dict[str, Any]:
    """Steps of the brain U-Net with so many times its channels: seconds a step, memory."""
    import torch
    from rich.console import Console

    from benchmarks.training import Made
    from medzoo import registry
    from medzoo.nn.net import Spec
    from medzoo.recipe import TrainSection
    from medzoo.training.fit import fit_gradient

    entry = registry.entry("model", "unet")
    channels = [8 * width, 16 * width, 32 * width, 64 * width, 64 * width]
    params = entry.params.model_validate({"dims": 2, "slices": 5, "channels": channels, "crop": 96})
    torch.manual_seed(0)
    net = entry.build(params, Spec(entry.task, ("a", "b", "c", "d")))
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.random((8, 5, 96, 96), np.float32))
    feed = Made(image, torch.from_numpy(rng.integers(0, 4, (8, 96, 96))), 8)
    before = peak()
    settings = TrainSection(epochs=2, batch=8, logger=())
    with tempfile.TemporaryDirectory() as made:
        report = fit_gradient(net, settings, feed, None, folder=Path(made), console=Console(quiet=True))
    parameters = sum(p.numel() for p in net.parameters())
    return {
        "parameters": parameters,
        "channels": channels,
        "step": report.seconds / report.steps,
        "memory": peak() - before,
    }


def of_link(rank: int, port: int) -> dict[str, Any]:
    """All-reduces between two processes of this machine: seconds of a small one, bytes a second of a large one."""
    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    times = {}
    for numbers in (1, 4_000_000):
        tensor, taken = torch.ones(numbers), []
        for _ in range(12):
            dist.barrier()
            start = time.perf_counter()
            dist.all_reduce(tensor)
            taken.append(time.perf_counter() - start)
        times[numbers] = float(np.median(taken))
    dist.destroy_process_group()
    return {"latency": times[1], "bandwidth": 4 * 4_000_000 / max(1e-9, times[4_000_000] - times[1])}


def peak() -> float:
    """Most resident bytes of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def child(options: list[str], *, threads: int | None = None) -> subprocess.Popen[str]:
    """This script for one point."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    command = [sys.executable, "-m", "benchmarks.scaling", *options]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The last line that a child printed."""
    said = process.communicate()[0]
    if process.returncode:
        sys.exit(said)
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def measured() -> dict[str, Any]:
    """All points."""
    data = []
    for count in PICTURES:
        with tempfile.TemporaryDirectory() as made:
            make_pictures(Path(made) / "pictures", count)
            os.environ["MEDZOO_CACHE"] = f"{made}/cache"
            data.append(answer(child(["--data", made, str(count)])))
    os.environ.pop("MEDZOO_CACHE", None)
    models = [answer(child(["--model", str(width)])) for width in WIDTHS]
    devices = []
    with tempfile.TemporaryDirectory() as made:
        for count in DEVICES:
            out = Path(made) / f"{count}.json"
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
            command = [sys.executable, "-m", "benchmarks.training", "--fit", "brain-tissue-unet"]
            subprocess.run(
                [*command, "--devices", str(count), "--out", str(out)], env=environment, check=True, cwd=ROOT
            )
            devices.append({"devices": count, **json.loads(out.read_text())})
    link, _ = (answer(p) for p in [child(["--link", str(rank), "29631"], threads=1) for rank in (0, 1)])
    return {"data": data, "model": models, "devices": devices, "link": link}


def line(points: list[dict[str, Any]], x: str, y: str) -> tuple[float, float]:
    """Least squares: what is there at 0, and what each one more costs."""
    slope, start = np.polyfit([p[x] for p in points], [p[y] for p in points], 1)
    return float(start), float(slope)


def foretold(found: dict[str, Any]) -> dict[str, Any]:
    """Extrapolations beyond the points, and of the widest model from the others."""
    pictures = FAR["pictures"]
    ends = {name: line(found["data"], "pictures", name) for name in ("opening", "epoch", "memory")}
    widest, narrow = found["model"][-1], found["model"][:FITTED]
    models = {name: line(narrow, "parameters", name) for name in ("step", "memory")}
    alone = found["devices"][0]
    batch, gradients = alone["rate"] * alone["seconds"] / alone["steps"], 4.0 * found["gradients"]
    compute, link = batch / alone["rate"], found["link"]
    speeds = {}
    for n in (1, 2, 4, 8, 16):
        reduce = 2 * (n - 1) / n * gradients / link["bandwidth"] + link["latency"] * (n - 1)
        speeds[n] = compute / (compute / n + reduce)
    return {
        "data": {"pictures": pictures, **{name: a + b * pictures for name, (a, b) in ends.items()}},
        "widest": {
            "parameters": widest["parameters"],
            **{
                name: {"foretold": a + b * widest["parameters"], "measured": widest[name]}
                for name, (a, b) in models.items()
            },
        },
        "lines": {**{f"data {k}": v for k, v in ends.items()}, **{f"model {k}": v for k, v in models.items()}},
        "speed_up": speeds,
    }


def draw(found: dict[str, Any]) -> None:
    """Six panels: points that were measured, dashed lines where nothing was."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(13, 7.5), constrained_layout=True)
    lines, far = found["foretold"]["lines"], FAR["pictures"]
    streams = FOLDER / "streams.json"
    rows = json.loads(streams.read_text())["rows"] if streams.is_file() else []
    hundred = next((row for row in rows if row["kind"] == "pictures"), None)
    panels = [
        (axes[0, 0], "data", "pictures", "opening", 1.0, far, "seconds until the first batch"),
        (axes[0, 1], "data", "pictures", "epoch", 1.0, far, "seconds of an epoch (LeNet, 28 x 28)"),
        (axes[0, 2], "data", "pictures", "memory", 1e6, far, "peak memory of the process, MB"),
        (axes[1, 0], "model", "parameters", "step", 1.0, None, "seconds of a step (U-Net, 8 crops of 5 x 96 x 96)"),
        (axes[1, 1], "model", "parameters", "memory", 1e6, None, "memory beyond loading the packages, MB"),
    ]
    for axis, kind, x, y, unit, end, title in panels:
        points = found[kind]
        start, slope = lines[f"{kind} {y}"]
        xs = np.array([p[x] for p in points], float)
        last = xs[FITTED - 1] if kind == "model" else xs[-1]
        inside, outside = np.array([0, last]), np.array([last, end or 2 * xs[-1]])
        axis.plot(inside, (start + slope * inside) / unit, color="0.6")
        axis.plot(outside, (start + slope * outside) / unit, color="0.6", linestyle="--", label="extrapolated")
        axis.plot(xs[:FITTED], [p[y] / unit for p in points[:FITTED]], "o", color="C0", label="measured")
        if kind == "model":
            axis.plot(
                xs[FITTED:],
                [p[y] / unit for p in points[FITTED:]],
                "s",
                color="C1",
                label="measured, not in the fit",
            )
        if kind == "data" and y == "memory" and hundred:
            at = hundred["items"], max(hundred["resident_mb"])
            axis.plot(*at, "s", color="C1", label="measured by benchmarks.streams")
        axis.set_xlabel(x)
        axis.set_title(title, fontsize=10)
        axis.set_ylim(bottom=0)
        axis.set_xlim(left=0)
        axis.legend(fontsize=8)
    axis = axes[1, 2]
    speeds = {int(n): v for n, v in found["foretold"]["speed_up"].items()}
    rates = [d["rate"] / found["devices"][0]["rate"] for d in found["devices"]]
    counts = [d["devices"] for d in found["devices"]]
    axis.plot(list(speeds), list(speeds), color="0.85", label="perfect")
    beyond = {n: v for n, v in speeds.items() if n >= counts[-1]}
    axis.plot(list(beyond), list(beyond.values()), color="0.6", linestyle="--", label="extrapolated (see the page)")
    axis.plot(counts, rates, "o", color="C0", label="measured")
    axis.set_xscale("log", base=2)
    axis.set_yscale("log", base=2)
    axis.set_xticks(list(speeds), [str(n) for n in speeds])
    axis.set_yticks(list(speeds), [str(n) for n in speeds])
    axis.set_xlabel("processes, one thread each")
    axis.set_title("times the samples a second of one process (U-Net)", fontsize=10)
    axis.legend(fontsize=8)
    PLOT.parent.mkdir(exist_ok=True)
    figure.savefig(PLOT, dpi=90)


def tables(found: dict[str, Any]) -> str:
    """The measured points and what is foretold, as Markdown."""
    far, wide = found["foretold"]["data"], found["foretold"]["widest"]
    rows = [
        "| pictures | until the first batch, s | an epoch, s | peak memory, MB | |",
        "| --- | --- | --- | --- | --- |",
    ]
    for p in [*found["data"], far]:
        word = "extrapolated" if p is far else "measured"
        rows.append(f"| {p['pictures']:,} | {p['opening']:.2f} | {p['epoch']:.1f} | {p['memory'] / 1e6:.0f} | {word} |")
    rows += ["", "| parameters | a step, s | memory, MB | |", "| --- | --- | --- | --- |"]
    for p in found["model"]:
        rows.append(f"| {p['parameters']:,} | {p['step']:.3f} | {p['memory'] / 1e6:.0f} | measured |")
    said = wide["step"]["foretold"], wide["memory"]["foretold"] / 1e6
    rows.append(f"| {wide['parameters']:,} | {said[0]:.3f} | {said[1]:.0f} | extrapolated from the first {FITTED} |")
    rows += ["", "| processes | times one process | |", "| --- | --- | --- |"]
    rates = {d["devices"]: d["rate"] / found["devices"][0]["rate"] for d in found["devices"]}
    rows += [f"| {n} | {rate:.2f} | measured |" for n, rate in rates.items()]
    speeds = {int(n): v for n, v in found["foretold"]["speed_up"].items()}
    rows += [f"| {n} | {v:.2f} | extrapolated |" for n, v in speeds.items() if n > 1]
    link = found["link"]
    rows += [
        "",
        f"An all-reduce between two processes of this machine: {1e6 * link['latency']:.0f} microseconds and "
        f"{link['bandwidth'] / 1e6:.0f} MB a second. Measured on {found['environment']['processor']}, "
        f"{found['environment']['cores']} cores; {found['load']:.0f} processes wanted to run on them at the end.",
    ]
    return "\n".join(rows)


def write_page(found: dict[str, Any]) -> None:
    """Put the tables between the page's marks."""
    text = PAGE.read_text()
    before, _, rest = text.partition("<!-- scaling -->")
    after = rest.partition("<!-- /scaling -->")[2]
    PAGE.write_text(f"{before}<!-- scaling -->\n{tables(found)}\n<!-- /scaling -->{after}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--data", nargs=2, metavar=("FOLDER", "COUNT"))
    parser.add_argument("--model", type=int, metavar="WIDTH")
    parser.add_argument("--link", nargs=2, type=int, metavar=("RANK", "PORT"))
    asked = parser.parse_args()
    if asked.data:
        print(json.dumps(of_data(Path(asked.data[0]), int(asked.data[1]))))
    elif asked.model:
        print(json.dumps(of_model(asked.model)))
    elif asked.link:
        print(json.dumps(of_link(*asked.link)))
    else:
        if not asked.page:
            found = measured()
            found["gradients"] = found["model"][1]["parameters"]  # the width that benchmarks.training has
            record("scaling", **found, foretold=foretold(found), load=os.getloadavg()[1])
        found = json.loads((FOLDER / "scaling.json").read_text())
        draw(found)
        write_page(found)


if __name__ == "__main__":
    main()
