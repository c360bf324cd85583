"""The region CNN: its ONNX file beside torch, `predict` beside the bare graph, its light form beside YOLO11n, and how
what follows the network grows with the proposals that are kept. All in turns, in one run."""

from __future__ import annotations

import importlib.util
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch

from benchmarks.record import record, summary
from medzoo.export.onnx_file import onnx_bytes
from medzoo.loading.backend import open_backend
from medzoo.loading.load import load
from medzoo.models.region_cnn import RegionCnn, RegionCnnParams, build
from medzoo.nn.net import Spec
from medzoo.runtime.metadata import Metadata
from medzoo.types import Array

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 25
# As the released detectors are, with 50 regions.
LIGHT = {"channels": 3, "size": (512, 512), "pyramid": 64, "hidden": 128, "candidates": 100, "regions": 50}
REGIONS = (100, 200, 400, 800)
# Threads of an ONNX Runtime session as it comes stay awake for some 40 ms of computing after a run, and would take
# one of few cores from whatever is timed next.
REST = 0.2


def in_turns(jobs: dict[str, Callable[[], Any]], *, rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Seconds of each job, `rounds` times in turns with a rest before each, after one call that warms it up.

    Each round begins with the next job: what ran before leaves cores awake or asleep.
    """
    for job in jobs.values():
        job()
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(rounds):
        for place in range(len(jobs)):
            name = list(jobs)[(number + place) % len(jobs)]
            time.sleep(REST)
            start = time.perf_counter()
            jobs[name]()
            times[name].append(time.perf_counter() - start)
    return times


def row(name: str, times: dict[str, list[float]], above: str, below: str) -> dict[str, Any]:
    """Both sides' seconds, and the ratio round by round."""
    ratios = [a / b for a, b in zip(times[above], times[below], strict=True)]
    return {
        "name": name,
        "seconds": {side: summary(values) for side, values in times.items()},
        "ratio": f"{above} / {below}",
        **summary(ratios),
    }


def picture(size: tuple[int, int], channels: int) -> Array:
    """A picture uint8 (H, W) or (H, W, 3) of smooth blobs and noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: size[0], : size[1]]
    total = np.full(size, 60.0)
    for _ in range(12):
        cy, cx, r = rng.uniform(0, size[0]), rng.uniform(0, size[1]), rng.uniform(10, 60)
        total += rng.uniform(40, 120) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * r * r))
    grey = np.clip(total + rng.normal(0, 8, size), 0, 255).astype(np.uint8)
    return grey if channels == 1 else np.repeat(grey[..., None], 3, axis=2)


def session(raw: bytes | str) -> ort.InferenceSession:
    """ONNX Runtime as it comes."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(raw, options, providers=["CPUExecutionProvider"])


def of_zoo(name: str) -> list[dict[str, Any]]:
    """A released model: ONNX beside torch eager, and predict of a picture in memory beside the bare graph."""
    folder = ROOT / "zoo" / name
    torch_side, predictor = open_backend(folder, backend="torch", device="cpu"), load(folder, device="cpu")
    graph = session(str(folder / "model.onnx"))
    array = picture((480, 640), predictor.metadata.geometry.channels)
    planes = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    inputs = {"image": np.ascontiguousarray(planes[None], np.float32)}
    times = in_turns(
        {
            "torch": lambda: torch_side.run(inputs),
            "onnx": lambda: graph.run(None, inputs),
            "predict": lambda: predictor.predict(array),
        }
    )
    rows = [row(f"{name}: ONNX over torch eager", times, "torch", "onnx")]
    rows.append(row(f"{name}: predict over the bare graph", times, "predict", "onnx"))
    return rows


def light_net(**changes: Any) -> RegionCnn:
    """The light variant with weights drawn from a seed."""
    params = RegionCnnParams(**{**LIGHT, **changes})
    return build(params, Spec("detect", ("lesion",))).eval()


def exported(net: RegionCnn) -> bytes:
    """Its ONNX file."""
    metadata = Metadata(name="light", task="detect", labels=("lesion",), geometry=net.geometry)
    return onnx_bytes(net, metadata, example={"image": np.random.default_rng(0).random((2, 3, 96, 80), np.float32)})


def beside_yolo() -> dict[str, Any]:
    """`predict` of the light variant beside ultralytics' predict of YOLO11n on its own ONNX file, 512 x 512."""
    name = "light variant over YOLO11n, predict at 512 x 512"
    if importlib.util.find_spec("ultralytics") is None:
        reason = "ultralytics is not installed: pip install ultralytics --no-deps"
        print(f"{name}: skipped, {reason}")
        return {"name": name, "skipped": reason}
    os.environ["YOLO_AUTOINSTALL"] = "false"  # it would install what it misses by itself
    from ultralytics import YOLO

    array = picture((512, 512), 3)
    with tempfile.TemporaryDirectory() as place:
        ours = Path(place) / "light.onnx"
        ours.write_bytes(exported(light_net()))
        predictor = load(ours, device="cpu")
        weights = Path(place) / "yolo11n.pt"
        YOLO("yolo11n.yaml").save(str(weights))
        theirs = YOLO(YOLO(str(weights)).export(format="onnx", imgsz=512, simplify=False, verbose=False), task="detect")
        times = in_turns(
            {
                "medzoo": lambda: predictor.predict(array),
                "yolo11n": lambda: theirs.predict(array[..., ::-1], imgsz=512, device="cpu", verbose=False),
            }
        )
    return row(name, times, "medzoo", "yolo11n")


def after_network(counts: Sequence[int]) -> dict[str, Any]:
    """Seconds of the graph as it keeps more regions, and the line through them: what is left of it is not linear."""
    array = np.ascontiguousarray(picture((512, 512), 3).transpose(2, 0, 1)[None], np.float32)
    sessions = {}
    for count in counts:
        sessions[str(count)] = session(exported(light_net(candidates=count, regions=count, detections=count)))
    times = in_turns({name: lambda s=s: s.run(None, {"image": array}) for name, s in sessions.items()})
    medians = np.array([statistics.median(times[str(count)]) for count in counts])
    slope, start = np.polyfit(counts, medians, 1)
    growth = np.diff(medians) / np.diff(counts)
    return {
        "name": "seconds by regions kept (512 x 512, everything above them: as many candidates a level)",
        "seconds": {name: summary(values) for name, values in times.items()},
        "microseconds a region": round(1e6 * float(slope), 2),
        "seconds without any": round(float(start), 5),
        "largest distance from the line": round(float(np.abs(start + slope * np.array(counts) - medians).max()), 5),
        # 1: the last region costs what the first did; 2 and more: quadratic.
        "cost of a region, last step over first": round(float(growth[-1] / growth[0]), 2),
    }


def main() -> None:
    torch.manual_seed(0)
    rows = [*of_zoo("breast-lesion-rcnn"), *of_zoo("blood-cell-rcnn"), beside_yolo(), after_network(REGIONS)]
    record("region_cnn", rounds=ROUNDS, rows=rows)


if __name__ == "__main__":
    main()
