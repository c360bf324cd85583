"""A residual U-Net over a volume in Gaussian-weighted patches: medzoo's ONNX file beside MONAI and torch.

    python -m benchmarks.sliding_window [--rounds N]

The same weights, patches, overlap and weighting on both sides (`monai.inferers.SlidingWindowInferer`, one patch at a
time), one thread each, in turn within one run; and the peak memory of a process that answers 512 x 512 x 300 voxels
with the patches' own probabilities in place of the network's. Writes benchmarks/results/sliding_window.json.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from monai.inferers import SlidingWindowInferer

from benchmarks.record import record, summary
from medzoo.export.onnx_file import onnx_bytes
from medzoo.models.residual_unet import ResidualUNetParams, VolumeUNet
from medzoo.nn.net import Spec
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.decode.slices import segment_array
from medzoo.runtime.metadata import Geometry, Metadata, SlidingWindow
from medzoo.types import Array

LABELS = ("background", "one", "two")
PATCH = (48, 48, 48)
SHAPE = (96, 96, 72)


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory-only", action="store_true", help="print this process's peak in MiB")
    options = parser.parse_args()
    if options.memory_only:
        print(peak_memory())
        return
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = VolumeUNet(ResidualUNetParams(patch=PATCH, channels=(16, 32, 64, 128)), Spec("segment", LABELS)).eval()
    metadata = Metadata(name="bench", task="segment", labels=LABELS, outputs=net.outputs, geometry=net.geometry)
    example = {"image": np.zeros((2, 1, *PATCH), np.float32)}
    backend = OnnxBackend(onnx_bytes(net, metadata, example=example), where="bench", device="cpu", threads=1)
    array = np.random.default_rng(0).normal(0, 1, (1, *SHAPE)).astype(np.float32)
    inferer = SlidingWindowInferer(PATCH, sw_batch_size=1, overlap=0.5, mode="gaussian")

    def with_monai() -> Array:
        with torch.inference_mode():
            maps: Any = inferer(torch.from_numpy(array)[None], lambda patch: net.logits(patch).softmax(1))
        found: Array = maps[0].argmax(0).to(torch.uint8).numpy()
        return found

    sides: dict[str, Callable[[], Array]] = {"medzoo": lambda: segment_array(backend, array), "monai": with_monai}
    differing = float((sides["medzoo"]() != sides["monai"]()).mean())
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.rounds):
        for name, run in sides.items():
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)
    # The least of each: on a machine that does other things as well, what took longer waited for them.
    speed = min(seconds["monai"]) / min(seconds["medzoo"])
    command = [sys.executable, "-m", "benchmarks.sliding_window", "--memory-only"]
    peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    record(
        "sliding_window",
        volume=SHAPE,
        patch=PATCH,
        rounds=options.rounds,
        cpu_seconds={name: summary(values) for name, values in seconds.items()},
        ratios={"monai / medzoo": round(speed, 3)},
        share_of_differing_voxels=differing,
        peak_mib_of_512x512x300=peak,
    )


def peak_memory() -> int:
    """MiB that this process had at most while it answered 512 x 512 x 300 voxels with three labels."""

    class Constant:
        name, device = "constant", "cpu"
        metadata = Metadata(
            name="constant",
            task="segment",
            labels=LABELS,
            outputs=("labels", "probabilities"),
            geometry=Geometry(dims=3, window=SlidingWindow(size=(96, 96, 96))),
        )

        def run(self, inputs: Any, outputs: Any = None) -> dict[str, Array]:
            image = inputs["image"]
            return {"probabilities": np.full((1, len(LABELS), *image.shape[2:]), 1 / 3, np.float32)}

    segment_array(Constant(), np.zeros((1, 512, 512, 300), np.float32))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
