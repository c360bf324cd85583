"""What the server costs over the bare graph call, what load does to it, and predict over files beside bare arrays.

Server and clients are processes of one machine and talk over loopback; each figure is taken in turns with
what it is compared with.
"""

from __future__ import annotations

import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from benchmarks.record import record, summary
from medzoo.commands.predict import predict_files
from medzoo.errors import UserError
from medzoo.runtime.onnx_backend import OnnxBackend
from medzoo.runtime.predictor import Predictor
from medzoo.runtime.remote import RemoteBackend
from tests.unit.serve.graphs import write_graph

ROUNDS = 200
FILES = 200
SECONDS = 5.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(graph: Path, *options: str) -> Iterator[tuple[str, str]]:
    """Addresses of `medzoo serve` on a graph, over HTTP and gRPC."""
    http, grpc = free_port(), free_port()
    command = [sys.executable, "-m", "medzoo", "serve", str(graph), "--device", "cpu", *options]
    process = subprocess.Popen(
        [*command, "--http-port", str(http), "--grpc-port", str(grpc)], stderr=subprocess.DEVNULL
    )
    name = OnnxBackend(graph, device="cpu").metadata.name
    addresses = f"http://127.0.0.1:{http}/{name}", f"grpc://127.0.0.1:{grpc}/{name}"
    try:
        for _ in range(600):
            try:
                RemoteBackend(addresses[0])
                break
            except UserError:
                time.sleep(0.1)
        yield addresses
    finally:
        process.terminate()
        process.wait()


def seconds(backend: OnnxBackend | RemoteBackend, image: np.ndarray) -> float:
    start = time.perf_counter()
    backend.run({"image": image}, ["labels"])
    return time.perf_counter() - start


def overhead(graph: Path) -> dict[str, object]:
    """Milliseconds that an answer takes longer from the server, over and over in turns."""
    image = np.random.default_rng(0).uniform(0, 255, (1, 1, 512, 512)).astype(np.float32)
    with served(graph) as (http, grpc):
        backends = {"bare": OnnxBackend(graph, device="cpu"), "http": RemoteBackend(http), "grpc": RemoteBackend(grpc)}
        for backend in backends.values():
            for _ in range(20):
                seconds(backend, image)
        times: dict[str, list[float]] = {name: [] for name in backends}
        for _ in range(ROUNDS):
            for name, backend in backends.items():
                times[name].append(seconds(backend, image))
    # On a machine that others use, a pair's difference is mostly theirs: the least of each is not.
    least = {name: min(values) for name, values in times.items()}
    found: dict[str, object] = {"bare_ms": summary([1000 * t for t in times["bare"]])}
    for name in ("http", "grpc"):
        extra = [1000 * (a - b) for a, b in zip(times[name], times["bare"], strict=True)]
        found[f"{name}_overhead_ms"] = summary(extra) | {
            "quartiles": [round(q, 3) for q in statistics.quantiles(extra, n=4)],
            "least_minus_least": round(1000 * (least[name] - least["bare"]), 3),
        }
    return found


def overload(graph: Path) -> dict[str, object]:
    """The 99th percentile of answered requests: one client alone, then 32 that never pause."""
    image = np.zeros((1, 1, 512, 512), np.float32)

    def ask(address: str, until: float, taken: list[float], refused: list[int]) -> None:
        backend = RemoteBackend(address)
        while time.monotonic() < until:
            try:
                taken.append(seconds(backend, image))
            except UserError as error:
                if "(429)" not in str(error):
                    raise
                refused.append(1)
                time.sleep(0.01)

    with served(graph, "--max-queue", "8") as (http, _):
        found = {}
        for clients in (1, 32):
            taken: list[float] = []
            refused: list[int] = []
            until = time.monotonic() + SECONDS
            threads = [threading.Thread(target=ask, args=(http, until, taken, refused)) for _ in range(clients)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            found[f"{clients} clients"] = {
                "answered": len(taken),
                "refused": len(refused),
                "p50_ms": round(1000 * statistics.median(taken), 2),
                "p99_ms": round(1000 * statistics.quantiles(taken, n=100)[98], 2),
            }
    return found


def files(graph: Path) -> dict[str, object]:
    """Images a second of predict over PNG files, over those of the graph on arrays that are decoded already."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        smooth = np.add.outer(np.arange(512), np.arange(512)) / 4
        arrays = [np.uint8((smooth + rng.uniform(0, 30) + rng.uniform(0, 8, (512, 512))) % 256) for _ in range(FILES)]
        paths = [folder / f"{number}.png" for number in range(FILES)]
        for path, array in zip(paths, arrays, strict=True):
            Pillow.fromarray(array).save(path)
        decoded = [array.astype(np.float32)[None, None] for array in arrays]
        bare = OnnxBackend(graph, device="cpu")
        predictor = Predictor(bare)
        rates: dict[str, list[float]] = {"bare": [], "predict": [], "predict and write": []}
        for _ in range(3):
            start = time.perf_counter()
            for array in decoded:
                bare.run({"image": array}, list(bare.metadata.outputs))
            rates["bare"].append(FILES / (time.perf_counter() - start))
            start = time.perf_counter()
            for _answer in predictor.stream(paths):
                pass
            rates["predict"].append(FILES / (time.perf_counter() - start))
            start = time.perf_counter()
            for _answer in predict_files(predictor, [str(p) for p in paths], out=folder / "out", pictures=False):
                pass
            rates["predict and write"].append(FILES / (time.perf_counter() - start))
            shutil.rmtree(folder / "out")
    return {
        "images_per_second": {name: summary(values) for name, values in rates.items()},
        "predict / bare": summary([a / b for a, b in zip(rates["predict"], rates["bare"], strict=True)]),
        "predict and write / bare": summary(
            [a / b for a, b in zip(rates["predict and write"], rates["bare"], strict=True)]
        ),
    }


def main(model: str = "breast-ultrasound-cnn") -> None:
    """`model`: the zoo model (one that takes pictures) whose files are counted."""
    from medzoo.commands.locate import find_model

    with tempfile.TemporaryDirectory() as name:
        light = write_graph(Path(name) / "light.onnx", "segment")
        record(
            "server",
            overhead_at_512x512=overhead(light),
            load=overload(light),
            files={"model": model, "files": FILES, **files(find_model(model) / "model.onnx")},
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
