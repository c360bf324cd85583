"""Fifteen minutes of a GPU: python -m benchmarks.gpu [--minutes 12] [--device cuda] [--only PART,...]

The most valuable first: the region CNN's first answer and steady rate by each way of choosing cuDNN's algorithms, and
by backbone; each family's parity and speed; a server under load; a training that is killed and resumed; the patch CNN
and training at full speed. Every part runs in a process of its own with a limit, and what it found is written before
the next one starts, so that a cut loses one part. Nothing is installed or downloaded. `--device cpu` rehearses all of
it and writes nothing to results/.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import FOLDER, record

ROOT = Path(__file__).resolve().parents[1]
FAMILIES = ("brain-tissue-unet", "breast-ultrasound-cnn", "lenet-mass", "breast-mass-svm", "brain-tissue")
BACKBONES = ("efficientnet_lite0", "resnet18", "regnety_004")
SEARCHES = ("heuristic", "default", "exhaustive")
SIZE = (640, 640)
BATCH = 8


def _timed_session(raw: Path, *, device: str, search: str, nhwc: bool, images: Sequence[Any]) -> dict[str, Any]:
    """Seconds from opening the file to the first answer, of a second one, and images a second of each batch."""
    from medzoo.runtime.backends.devices import GpuOptions
    from medzoo.runtime.backends.onnx import OnnxBackend

    start = time.perf_counter()
    gpu = None if device == "cpu" else GpuOptions(convolutions=search, nhwc=nhwc)  # type: ignore[arg-type]
    backend = OnnxBackend(raw, device=device, gpu=gpu)  # type: ignore[arg-type]
    backend.run({"image": images[0]})
    found: dict[str, Any] = {"first_answer_s": round(time.perf_counter() - start, 3)}
    _say(found)
    for batch in images:
        start = time.perf_counter()
        backend.run({"image": batch})
        name = f"batch {len(batch)}"
        found[f"{name}, first_s"] = round(time.perf_counter() - start, 3)
        times = []
        end = time.perf_counter() + 3.0
        while time.perf_counter() < end or len(times) < 3:
            start = time.perf_counter()
            backend.run({"image": batch})
            times.append(time.perf_counter() - start)
        found[f"{name}, images_per_s"] = round(len(batch) / statistics.median(times), 1)
        _say(found)
    return found


def region_cnn(device: str, search: str, precision: str, layout: str) -> dict[str, Any]:
    """breast-lesion-rcnn as released, on pictures of 480 x 640."""
    from medzoo.artifact.locate import find_model
    from medzoo.export.half import half_bytes

    path = Path(find_model("breast-lesion-rcnn")) / "model.onnx"
    rng = np.random.default_rng(0)
    images = [rng.uniform(0, 255, (n, 1, 480, 640)).astype(np.float32) for n in (1, BATCH)]
    with tempfile.TemporaryDirectory() as place:
        if precision == "fp16":
            path = Path(shutil.copyfile(path, Path(place) / "model.onnx"))
            path.write_bytes(half_bytes(path.read_bytes()))
        return _timed_session(path, device=device, search=search, nhwc=layout == "nhwc", images=images)


def backbone(device: str, name: str, precision: str) -> dict[str, Any]:
    """A region CNN of 640 x 640 with random weights on another backbone: do depthwise convolutions cost the time?"""
    from benchmarks.region_cnn import exported, light_net
    from medzoo.export.half import half_bytes

    raw = exported(light_net(backbone=name, size=SIZE))
    rng = np.random.default_rng(0)
    images = [rng.uniform(0, 255, (n, 3, *SIZE)).astype(np.float32) for n in (1, BATCH)]
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "model.onnx"
        path.write_bytes(half_bytes(raw) if precision == "fp16" else raw)
        return _timed_session(path, device=device, search="heuristic", nhwc=False, images=images)


def torch_cuda(device: str) -> dict[str, Any]:
    """breast-lesion-rcnn by the torch backend: the measured alternative."""
    from medzoo.artifact.locate import find_model
    from medzoo.loading.backend import open_backend

    start = time.perf_counter()
    backend = open_backend(Path(find_model("breast-lesion-rcnn")), backend="torch", device=device)  # type: ignore[arg-type]
    image = np.random.default_rng(0).uniform(0, 255, (BATCH, 1, 480, 640)).astype(np.float32)
    backend.run({"image": image[:1]})
    found: dict[str, Any] = {"first_answer_s": round(time.perf_counter() - start, 3)}
    for count in (1, BATCH):
        backend.run({"image": image[:count]})
        start = time.perf_counter()
        for _ in range(10):
            backend.run({"image": image[:count]})
        found[f"batch {count}, images_per_s"] = round(10 * count / (time.perf_counter() - start), 1)
    return found


def family(device: str, name: str) -> dict[str, Any]:
    """Parity and speed of a released model by every backend and precision, as `medzoo benchmark` measures them."""
    from medzoo.artifact.locate import find_model
    from medzoo.commands.benchmark import benchmark

    del device  # it measures all there are
    return benchmark(Path(find_model(name)), seconds=8.0, say=_say).to_dict()


def serve(device: str) -> dict[str, Any]:
    """`medzoo serve` under 16 clients for 10 seconds: answers a second, and whether each equals the first."""
    from medzoo.artifact.locate import find_model
    from medzoo.runtime.backends.remote import RemoteBackend
    from medzoo.serve.local_server import local_server

    image = np.random.default_rng(0).uniform(0, 255, (1, 1, 480, 640)).astype(np.float32)
    name = "breast-lesion-rcnn"
    start = time.perf_counter()
    with local_server(Path(find_model(name)), name, "--device", device) as server:
        expected = RemoteBackend(server.http).run({"image": image})
        found: dict[str, Any] = {"start_to_first_answer_s": round(time.perf_counter() - start, 3)}
        _say(found)
        end = time.monotonic() + 10

        def client(_number: int) -> tuple[int, int]:
            backend, right, wrong = RemoteBackend(server.grpc), 0, 0
            while time.monotonic() < end:
                answer = backend.run({"image": image})
                same = all(np.allclose(answer[key], expected[key], atol=1e-2) for key in expected)
                right, wrong = right + same, wrong + (not same)
            return right, wrong

        with ThreadPoolExecutor(16) as pool:
            counts = list(pool.map(client, range(16)))
    right, wrong = (sum(one[place] for one in counts) for place in (0, 1))
    return found | {"answers_per_s": right / 10, "wrong": wrong}


def resume(device: str) -> dict[str, Any]:
    """A short training that is killed and resumed."""
    del device  # Lightning takes the one there is
    with tempfile.TemporaryDirectory() as place:
        command = [
            sys.executable,
            "-m",
            "medzoo",
            "train",
            str(ROOT / "recipes/brain-tissue-mni.yaml"),
            "-o",
            f"{place}/run",
        ]
        command += ["train.epochs=2", "train.steps_per_epoch=200", "train.checkpoint.every_steps=50"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        for line in process.stderr:
            if "step 100" in line:
                process.send_signal(signal.SIGKILL)
                break
        process.wait()
        done = subprocess.run([*command, "--resume"], capture_output=True, text=True)
        return {
            "killed": process.returncode == -signal.SIGKILL,
            "resumed": done.returncode == 0,
            "said": done.stderr[-300:],
        }


def suite(device: str) -> dict[str, Any]:
    """The tests that look at a GPU."""
    del device
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "tests/unit/runtime",
        "-k",
        "gpu or cuda or device",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return {"exit": done.returncode, "said": done.stdout[-400:]}


def script(device: str, name: str) -> dict[str, Any]:
    """Another benchmark of this folder, which writes results of its own."""
    del device
    done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], cwd=ROOT, capture_output=True, text=True)
    return {"exit": done.returncode, "said": done.stderr[-400:]}


PARTS: dict[str, tuple[Callable[..., dict[str, Any]], tuple[str, ...], int]] = {
    # What a first answer waits for, by each setting; then what could replace it.
    "region CNN, heuristic": (region_cnn, ("heuristic", "fp32", "nchw"), 75),
    "region CNN, default": (region_cnn, ("default", "fp32", "nchw"), 75),
    "region CNN, torch": (torch_cuda, (), 60),
    "region CNN, heuristic, fp16": (region_cnn, ("heuristic", "fp16", "nchw"), 60),
    "region CNN, default, fp16": (region_cnn, ("default", "fp16", "nchw"), 60),
    "region CNN, heuristic, fp16, channels last": (region_cnn, ("heuristic", "fp16", "nhwc"), 60),
    **{f"backbone {name}, fp16": (backbone, (name, "fp16"), 60) for name in BACKBONES},
    "region CNN, exhaustive, fp16": (region_cnn, ("exhaustive", "fp16", "nchw"), 60),
    "serve": (serve, (), 90),
    "killed and resumed": (resume, (), 90),
    **{f"family {name}": (family, (name,), 60) for name in FAMILIES},
    "tests": (suite, (), 60),
    "patch CNN": (script, ("gpu_head",), 90),
    "training": (script, ("gpu_training",), 90),
}


def _say(found: object) -> None:
    """Print what is known so far as a line of its own: the last one counts where a limit ends the part."""
    print(json.dumps(found, default=str), flush=True)


def _run(part: str, *, device: str, limit: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.gpu", "--part", part, "--device", device]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=err, start_new_session=True)
        try:
            process.wait(limit)
            ended: dict[str, Any] = {} if process.returncode == 0 else {"failed": process.returncode}
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            ended = {"ended_after_s": round(limit)}
        out.seek(0)
        err.seek(0)
        found = [json.loads(line) for line in out if line.startswith("{")]
        if "failed" in ended:
            ended["said"] = err.read()[-500:]
    return (found[-1] if found else {}) | ended


def _device() -> str:
    """Return the GPU's name, or an empty string where there is none."""
    if shutil.which("nvidia-smi") is None:
        return ""
    done = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True)
    return done.stdout.strip()


def main(argv: Sequence[str] | None = None) -> None:
    """Run the parts in order until the time is up."""
    from medzoo.runtime.backends.devices import cuda_usable

    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--minutes", type=float, default=12)
    reader.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    reader.add_argument("--only", default="", help="parts by name, or the beginning of it, with commas")
    reader.add_argument("--part", help=argparse.SUPPRESS)
    asked = reader.parse_args(argv)
    if asked.part:
        call, values, _limit = PARTS[asked.part]
        _say(call(asked.device, *values))
        return
    if asked.device == "cuda" and not cuda_usable():
        print("not measured: there is no CUDA device here that ONNX Runtime can use", file=sys.stderr)
        return
    end = time.monotonic() + 60 * asked.minutes
    wanted = tuple(asked.only.split(",")) if asked.only else ("",)
    known = FOLDER / "gpu.json"
    # A run of some parts replaces those, and keeps the others' results.
    kept = json.loads(known.read_text()) if known.is_file() and asked.device == "cuda" else {}
    found: dict[str, Any] = kept.get("parts", {}) if kept.get("device") == _device() else {}
    for part, (_call, _values, limit) in PARTS.items():
        left = end - time.monotonic()
        if not part.startswith(wanted) or left < 5:
            continue
        found[part] = _run(part, device=asked.device, limit=min(limit, left))
        print(part, json.dumps(found[part])[:600], flush=True)
        if asked.device == "cuda":
            record("gpu", device=_device(), parts=found)


if __name__ == "__main__":
    main()
