"""`medzoo benchmark`: every backend and precision of a model on this machine, measured in turns."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.artifact import ModelFolder
from medzoo.commands.catalog import has_torch
from medzoo.commands.environment import environment
from medzoo.commands.locate import find_model
from medzoo.commands.model import open_backend
from medzoo.errors import UserError
from medzoo.runtime.backend import Backend
from medzoo.runtime.onnx_backend import cuda_device_present
from medzoo.runtime.parity import Golden, compare, read_golden_file
from medzoo.types import Array

_BATCHES = (1, 2, 4, 8, 16)
_WARM = 3
_SIDE = {2: 256, 3: 64}
_FILES = {"fp32": "model.onnx", "fp16": "model.fp16.onnx", "int8": "model.int8.onnx"}


@dataclass(frozen=True)
class Row:
    """One backend at one precision.

    `p50_ms`, `p95_ms`: one input at a time; `spread_ms`: its quartiles. `per_second`: inputs a second at the
    best of several batch sizes, `batch`. `peak_mb`: most memory of a process that loads it and answers once.
    `differences`: largest difference of each output from the answers that torch gave at the export.
    """

    backend: str
    device: str
    precision: str
    p50_ms: float
    p95_ms: float
    spread_ms: tuple[float, float]
    per_second: float
    batch: int
    peak_mb: float
    file_mb: float
    differences: Mapping[str, float]


@dataclass(frozen=True)
class Benchmark:
    """The rows, what they were measured on, and what could not be measured here and why."""

    model: str
    input: dict[str, list[int]]
    rounds: int
    rows: tuple[Row, ...]
    absent: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The document of `benchmark --json`."""
        return asdict(self) | {"environment": environment()}


def benchmark(model: str | Path, *, size: int | None = None, seconds: float = 20.0) -> Benchmark:
    """Measure a model folder's backends. `size`: pixels of an input's side; `seconds`: about how long it may take.

    Raises UserError if MODEL is no model folder.
    """
    path = find_model(model)
    if not path.is_dir():
        raise UserError("is no model folder, which holds the answers to compare with", where=str(path))
    folder = ModelFolder.open(path)
    candidates, absent = _candidates(folder)
    goldens, answers = read_golden_file(folder.file("golden.npz").read_bytes())
    backends = {
        key: open_backend(path, backend=key[0], device=key[1], precision=key[2])  # type: ignore[arg-type]
        for key in candidates
    }
    metadata = next(iter(backends.values())).metadata
    side = size or _SIDE[metadata.geometry.dims]
    one = _inputs(goldens[0], 1, side)
    for backend in backends.values():
        for _ in range(_WARM):
            backend.run(one)
    latencies = _in_turns(backends, one, seconds=seconds / 2)
    best = {
        key: _throughput(
            backend, goldens[0], size or _SIDE[metadata.geometry.dims], seconds=seconds / 2 / len(backends)
        )
        for key, backend in backends.items()
    }
    rows = []
    for key, backend in backends.items():
        times = sorted(1000 * t for t in latencies[key])
        quartiles = statistics.quantiles(times, n=4)
        rows.append(
            Row(
                backend=key[0],
                device=backend.device,
                precision=key[2],
                p50_ms=round(statistics.median(times), 3),
                p95_ms=round(statistics.quantiles(times, n=20)[18], 3),
                spread_ms=(round(quartiles[0], 3), round(quartiles[2], 3)),
                per_second=round(best[key][0], 2),
                batch=best[key][1],
                peak_mb=_peak_mb(path, key, one),
                file_mb=round(_file(folder, key).stat().st_size / 1e6, 3),
                differences=_differences(backend, goldens, answers),
            )
        )
    shapes = {name: list(array.shape) for name, array in one.items()}
    return Benchmark(folder.name, shapes, len(next(iter(latencies.values()))), tuple(rows), absent)


def _candidates(folder: ModelFolder) -> tuple[list[tuple[str, str, str]], dict[str, str]]:
    """(backend, device, precision) of what can run here, and why the rest cannot."""
    found: list[tuple[str, str, str]] = []
    absent: dict[str, str] = {}
    devices = ["cpu"]
    if cuda_device_present():
        devices.append("cuda")
    else:
        absent["cuda"] = "no CUDA device on this machine"
    for precision, name in _FILES.items():
        if name in folder.manifest["files"]:
            found += [("onnx", device, precision) for device in devices]
        else:
            absent[precision] = f"the model has no {name}"
    if has_torch():
        found += [("torch", device, "fp32") for device in devices]
    else:
        absent["torch"] = "torch is not installed"
    return found, absent


def _file(folder: ModelFolder, key: tuple[str, str, str]) -> Path:
    return folder.file("model.safetensors" if key[0] == "torch" else _FILES[key[2]])


def _inputs(golden: Golden, rows: int, side: int) -> dict[str, Array]:
    """`rows` inputs like the golden ones; an image's are repeated and cut to `side` pixels."""
    found = {}
    for name, array in golden.inputs.items():
        sides = [side] * (array.ndim - 2) if name == "image" else array.shape[2:]
        wanted = (rows, array.shape[1], *sides)
        repeats = [-(-n // have) for n, have in zip(wanted, array.shape, strict=True)]
        found[name] = np.ascontiguousarray(np.tile(array, repeats)[tuple(slice(0, n) for n in wanted)])
    return found


def _in_turns(
    backends: Mapping[Any, Backend], inputs: Mapping[str, Array], *, seconds: float
) -> dict[Any, list[float]]:
    """Seconds of each run; every round asks each backend once, so that what disturbs one disturbs all."""
    times: dict[Any, list[float]] = {key: [] for key in backends}
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < 5 or (rounds < 200 and time.perf_counter() < end):
        rounds += 1
        for key, backend in backends.items():
            start = time.perf_counter()
            backend.run(inputs)
            times[key].append(time.perf_counter() - start)
    return times


def _throughput(backend: Backend, golden: Golden, side: int, *, seconds: float) -> tuple[float, int]:
    """The most inputs a second, and the batch size that gave it."""
    rates = []
    end = time.perf_counter() + seconds
    for batch in _BATCHES:
        inputs = _inputs(golden, batch, side)
        taken = []
        for _ in range(3):
            start = time.perf_counter()
            backend.run(inputs)
            taken.append(time.perf_counter() - start)
        rates.append((batch / statistics.median(taken), batch))
        if time.perf_counter() > end:
            break
    return max(rates)


def _differences(
    backend: Backend, goldens: Sequence[Golden], answers: Sequence[Mapping[str, Array]]
) -> dict[str, float]:
    largest: dict[str, float] = {}
    for golden, expected in zip(goldens, answers, strict=True):
        for one in compare(golden, expected, backend.run(golden.inputs)):
            largest[one.output] = max(largest.get(one.output, 0.0), float(f"{one.difference:.3g}"))
    return largest


def _peak_mb(path: Path, key: tuple[str, str, str], inputs: Mapping[str, Array]) -> float:
    """Measured in a process of its own: the most memory of this one would be that of all backends."""
    task = {"path": str(path), "key": key, "shapes": {name: list(array.shape) for name, array in inputs.items()}}
    code = "import sys; from medzoo.commands.benchmark import print_peak; print_peak(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, json.dumps(task)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def print_peak(task: str) -> None:
    """Load a backend, answer once, and print the most memory that this process had, in MB."""
    given = json.loads(task)
    name, device, precision = given["key"]
    backend = open_backend(Path(given["path"]), backend=name, device=device, precision=precision)
    backend.run({key: np.zeros(shape, np.float32) for key, shape in given["shapes"].items()})
    print(round(_peak_bytes() / 1e6, 1))


def _peak_bytes() -> float:
    status = Path("/proc/self/status")
    if status.is_file():
        # getrusage would count the memory of the process that started this one.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return 1024.0 * int(line.split()[1])
    import resource

    # macOS counts bytes.
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
