"""`medzoo benchmark`: measure every backend and precision of a model on this machine, in turns."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.artifact import ModelFolder
from medzoo.artifact.environment import environment
from medzoo.artifact.locate import find_model
from medzoo.data.catalog import has_torch
from medzoo.errors import UserError
from medzoo.loading.backend import open_backend
from medzoo.loading.peak_memory import peak_mb, peak_of
from medzoo.report.card import update_folder
from medzoo.runtime.backends import Backend
from medzoo.runtime.backends.devices import cuda_usable, tensorrt_usable
from medzoo.runtime.backends.onnx import read_metadata
from medzoo.runtime.metadata import PRECISIONS, Precision, graph_file
from medzoo.runtime.parity.gate import Golden, compare, load_golden
from medzoo.task import task_of
from medzoo.types import Array

_BATCHES = (1, 2, 4, 8, 16)
_WARM = 3
_ROUNDS = 3  # of each batch size
_SIDE = {2: 256, 3: 64}

Key = tuple[str, str, Precision]
"""Backend ("onnx", "torch", and "http" and "grpc" for a server on this machine), device, precision."""


@dataclass(frozen=True)
class Row:
    """One backend at one precision.

    `first_s`: seconds from opening the file to the first answer, which a server's start and a single `predict` wait
    for (None for a server that runs already). `p50_ms`, `p95_ms`: one input at a time; `spread_ms`: its quartiles.
    `per_second`: inputs a second at the best of several batch sizes, `batch`, the median of a few rounds, and the
    least and most of them. `peak_mb`: most memory of a process that loads it and answers once (of a server: of the
    server, and so far). `differences`: largest difference of each output from the answers that torch gave at the
    export, as the gate counts it for this precision. `metric`: the task's own on validation items, `loss`: what it
    lacks to the float32 graph on the CPU; None where neither could be had.
    """

    backend: str
    device: str
    precision: str
    first_s: float | None
    p50_ms: float
    p95_ms: float
    spread_ms: tuple[float, float]
    per_second: float
    per_second_spread: tuple[float, float]
    batch: int
    peak_mb: float | None
    file_mb: float
    differences: Mapping[str, float]
    metric: float | None
    loss: float | None


@dataclass(frozen=True)
class Benchmark:
    """The rows, the inputs they were measured on, and what could not be measured here and why.

    `metric`: name, split and number of items of the rows' metric, and whether it was measured now or at the export.
    """

    model: str
    input: dict[str, list[int]]
    rounds: int
    rows: tuple[Row, ...]
    metric: Mapping[str, Any] | None
    absent: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The document of `benchmark --json`."""
        return asdict(self) | {"environment": environment()}


def _nothing_reported(_words: str) -> None:
    pass


def benchmark(
    model: str | Path,
    *,
    size: int | None = None,
    seconds: float = 20.0,
    say: Callable[[str], object] = _nothing_reported,
) -> Benchmark:
    """Measure a model folder's backends. `size`: pixels of an input's side; `seconds`: about how long the runs may
    take; scoring the validation part comes on top where the recipe's data are on this machine. `say` is told what is
    being done: a GPU's first answer may take long.

    Raises UserError if MODEL is no model folder, or a pipeline.
    """
    path = find_model(model)
    if not path.is_dir():
        raise UserError("is not a model folder, so it holds no outputs to compare with", where=str(path))
    folder = ModelFolder.open(path)
    if "members" in folder.manifest:
        names = ", ".join(member["name"] for member in folder.manifest["members"].values())
        raise UserError(
            "is a pipeline, which has no graph of its own", where=str(path), hint=f"benchmark its members: {names}"
        )
    candidates, absent = _candidates(folder)
    with ExitStack() as stack:
        return _measured(folder, candidates, absent, stack, size=size, seconds=seconds, say=say)


def record_speed(model: str | Path, measured: Mapping[str, Any]) -> ModelFolder:
    """Write the document of a benchmark into the manifest and card of a model folder."""
    machine = {name: measured["environment"][name] for name in ("processor", "cores")}
    machine["load"] = round(os.getloadavg()[1], 1) if hasattr(os, "getloadavg") else None  # Windows does not count it
    kept = {name: measured[name] for name in ("input", "rounds", "rows", "metric")}
    return update_folder(ModelFolder.open(find_model(model)), speed={**kept, "environment": machine})


def _measured(
    folder: ModelFolder,
    candidates: Sequence[Key],
    absent: dict[str, str],
    stack: ExitStack,
    *,
    size: int | None,
    seconds: float,
    say: Callable[[str], object],
) -> Benchmark:
    goldens, predictions = load_golden(folder.file("golden.npz").read_bytes())
    side = size or _SIDE[read_metadata(folder.file(graph_file("fp32"))).geometry.dims]
    one = _inputs(goldens[0], 1, side)
    backends: dict[Key, Backend] = {}
    first: dict[Key, float] = {}
    for key in candidates:
        name, device, precision = key
        say(f"{name} {device} {precision}: starting")
        start = time.perf_counter()
        backends[key] = open_backend(folder.path, backend=name, device=device, precision=precision)  # type: ignore[arg-type]
        backends[key].run(one)
        first[key] = round(time.perf_counter() - start, 3)
        say(f"{name} {device} {precision}: first answer after {first[key]:.3f} s")
    server, served = _start_server(folder, stack, absent)
    backends |= served
    for backend in backends.values():
        for _ in range(_WARM):
            backend.run(one)
    latencies = _interleaved(backends, one, seconds=seconds / 2)
    rates = _throughput(backends, goldens[0], side, seconds=seconds / 2)
    metric, values = _metrics(folder, backends, absent)
    whole = values.get(("onnx", "cpu", "fp32"))
    rows = []
    for key, backend in backends.items():
        times = sorted(1000 * t for t in latencies[key])
        quartiles = statistics.quantiles(times, n=4)
        batch, best = max(rates[key].items(), key=lambda item: statistics.median(item[1]))
        value = values.get(key)
        rows.append(
            Row(
                backend=key[0],
                device=backend.device if key not in served else key[1],
                precision=key[2],
                first_s=first.get(key),
                p50_ms=round(statistics.median(times), 3),
                p95_ms=round(statistics.quantiles(times, n=20)[18], 3),
                spread_ms=(round(quartiles[0], 3), round(quartiles[2], 3)),
                per_second=round(statistics.median(best), 2),
                per_second_spread=(round(min(best), 2), round(max(best), 2)),
                batch=batch,
                peak_mb=peak_mb(folder.path, key, one) if key not in served else peak_of(server),
                file_mb=round(_file(folder, key).stat().st_size / 1e6, 3),
                differences=_differences(backend, goldens, predictions, key[2]),
                metric=None if value is None else round(value, 5),
                loss=None if value is None or whole is None else round(whole - value, 5),
            )
        )
    shapes = {name: list(array.shape) for name, array in one.items()}
    return Benchmark(folder.name, shapes, len(next(iter(latencies.values()))), tuple(rows), metric, absent)


def _candidates(folder: ModelFolder) -> tuple[list[Key], dict[str, str]]:
    """(backend, device, precision) of what can run here, and why the rest cannot."""
    found: list[Key] = []
    absent: dict[str, str] = {}
    devices = ["cpu"]
    if cuda_usable():
        devices.append("cuda")
    else:
        absent["cuda"] = "no CUDA device on this machine"
    if cuda_usable() and tensorrt_usable():
        devices.append("tensorrt")
    else:
        absent["tensorrt"] = "no CUDA device on this machine, or no TensorRT"
    for precision in PRECISIONS:
        if graph_file(precision) in folder.manifest["files"]:
            found += [("onnx", device, precision) for device in devices]
        else:
            absent[precision] = f"the model has no {graph_file(precision)}"
    if has_torch():
        found += [("torch", device, "fp32") for device in devices if device != "tensorrt"]
    else:
        absent["torch"] = "torch is not installed"
    return found, absent


def _start_server(folder: ModelFolder, stack: ExitStack, absent: dict[str, str]) -> tuple[int, dict[Key, Backend]]:
    """The process id of a server, and the same float32 graph behind it, over HTTP and gRPC."""
    if find_spec("uvicorn") is None or find_spec("grpc") is None:
        absent["server"] = "the extra serve is not installed"
        return 0, {}
    from medzoo.runtime.backends.remote import RemoteBackend
    from medzoo.serve.local_server import local_server

    options = ("--device", "cpu", "--precision", "fp32", "--no-supervise")
    server = stack.enter_context(local_server(folder.path, folder.name, *options))
    return server.process.pid, {
        ("http", "cpu", "fp32"): RemoteBackend(server.http),
        ("grpc", "cpu", "fp32"): RemoteBackend(server.grpc),
    }


def _metrics(
    folder: ModelFolder, backends: Mapping[Key, Backend], absent: dict[str, str]
) -> tuple[dict[str, Any] | None, dict[Key, float]]:
    """The task's own metric of each backend, measured on validation items if they are here, else as the export
    left it in the manifest."""
    from medzoo.data.audit.training import as_trained
    from medzoo.data.catalog import catalog
    from medzoo.data.opened import open_data, require_same_split
    from medzoo.evaluation.score import primary_metric, subsample
    from medzoo.recipe import load_recipe

    try:
        recipe = load_recipe(folder.file("recipe.yaml"), catalog=catalog())
        data = open_data(recipe)
        require_same_split(folder, data.split)
        data = as_trained(recipe, data, say=lambda _: None)
        items = subsample(data.part("val"), task_of(recipe.task).benchmark_items)
        values: dict[Key, float] = {}
        name = ""
        for key, backend in backends.items():
            name, values[key] = primary_metric(backend, recipe, data, items)
        return {"name": name, "split": "val", "items": len(items), "measured": "now"}, values
    except UserError as error:
        absent["metric"] = str(error).replace("\n", "; ")
    found: dict[Key, float] = {}
    metric: dict[str, Any] | None = None
    for precision, report in folder.manifest.get("precisions", {}).items():
        metric_report = report["metric"]
        metric = {
            "name": metric_report["name"],
            "split": metric_report["split"],
            "items": metric_report["items"],
            "measured": "at the export",
        }
        for key in backends:
            if key[0] == "onnx" and key[2] in ("fp32", precision):
                found[key] = float(metric_report[key[2]])
    return metric, found


def _file(folder: ModelFolder, key: Key) -> Path:
    return folder.file("model.safetensors" if key[0] == "torch" else graph_file(key[2]))


def _inputs(golden: Golden, rows: int, side: int) -> dict[str, Array]:
    """`rows` inputs like the golden ones; an image's are repeated and cut to `side` pixels."""
    found = {}
    for name, array in golden.inputs.items():
        sides = [side] * (array.ndim - 2) if name == "image" else array.shape[2:]
        wanted = (rows, array.shape[1], *sides)
        repeats = [-(-n // have) for n, have in zip(wanted, array.shape, strict=True)]
        found[name] = np.ascontiguousarray(np.tile(array, repeats)[tuple(slice(0, n) for n in wanted)])
    return found


def _interleaved(
    backends: Mapping[Key, Backend], inputs: Mapping[str, Array], *, seconds: float
) -> dict[Key, list[float]]:
    """Seconds of each run; every round runs each backend once, so that a disturbance hits all alike."""
    times: dict[Key, list[float]] = {key: [] for key in backends}
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < 5 or (rounds < 200 and time.perf_counter() < end):
        rounds += 1
        for key, backend in backends.items():
            start = time.perf_counter()
            backend.run(inputs)
            times[key].append(time.perf_counter() - start)
    return times


def _throughput(
    backends: Mapping[Key, Backend], golden: Golden, side: int, *, seconds: float
) -> dict[Key, dict[int, list[float]]]:
    """Inputs a second of each round, by batch size; the backends take turns in every round."""
    rates: dict[Key, dict[int, list[float]]] = {key: {} for key in backends}
    end = time.perf_counter() + seconds
    for batch in _BATCHES:
        inputs = _inputs(golden, batch, side)
        for key, backend in backends.items():
            backend.run(inputs)
            rates[key][batch] = []
        for _ in range(_ROUNDS):
            for key, backend in backends.items():
                start = time.perf_counter()
                backend.run(inputs)
                rates[key][batch].append(batch / (time.perf_counter() - start))
        if time.perf_counter() > end:
            break
    return rates


def _differences(
    backend: Backend, goldens: Sequence[Golden], predictions: Sequence[Mapping[str, Array]], precision: Precision
) -> dict[str, float]:
    largest: dict[str, float] = {}
    for golden, expected in zip(goldens, predictions, strict=True):
        for one in compare(golden, expected, backend.run(golden.inputs), precision=precision):
            largest[one.output] = max(largest.get(one.output, 0.0), float(f"{one.difference:.3g}"))
    return largest
