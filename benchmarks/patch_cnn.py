"""Speed and memory of the full patch CNN on a 1 mm slice, as ratios: python -m benchmarks.patch_cnn

Everything compared runs in this one process on the same slice, with the same weights and threads, in turn,
so that a busy machine slows all of it; with one thread (OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1) the seconds are
those of the processor, which others' work lengthens little. Writes benchmarks/results/patch_cnn.json, or
patch_cnn_without_bf16.json. The slice is the middle axial one of the MNI152 average brain (package nilearn). The
Predictor cuts it to its foreground, and naive patches are counted for the same pixels; MONAI's inferer is given the
slice as it is, for it cuts nothing. bf16 is left out on a processor that has no instructions for it, where int8 and
Winograd's convolution are what is faster.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from monai.inferers import SlidingWindowInferer

from benchmarks.record import record
from medzoo.boxes import bounding_box
from medzoo.export.integer import integer_bytes
from medzoo.export.onnx_file import onnx_bytes
from medzoo.models.patch_cnn import PatchCnn, PatchCnnParams
from medzoo.nn.net import Spec
from medzoo.nn.torch_backend import TorchBackend, is_emulated
from medzoo.preprocess.host.zscore import ZScore
from medzoo.registry import entry
from medzoo.runtime.backends import Backend
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.decode.slices import segment_array, slice_with_neighbours, with_margin
from medzoo.runtime.metadata import Metadata
from medzoo.types import Array, GridTransform

LABELS = ("background", "csf", "grey-matter", "white-matter")
REPEATS = 3
PATCHES = 1024
UNET = Path(__file__).parents[1] / "zoo" / "brain-tissue-unet" / "model.onnx"
EVERY = 24  # of the head's slices, one is answered by the patch CNN and the U-Net


def network(convolution: Literal["direct", "winograd"] = "direct") -> PatchCnn:
    torch.manual_seed(0)
    return PatchCnn(PatchCnnParams(foreground="nonzero", convolution=convolution), Spec("segment", LABELS)).eval()


def metadata(net: PatchCnn) -> Metadata:
    return Metadata(name="patch-cnn", task="segment", labels=LABELS, outputs=net.outputs, geometry=net.geometry)


def exported(net: PatchCnn) -> bytes:
    return onnx_bytes(net, metadata(net), example={"image": np.zeros((2, 1, 30, 34), np.float32)})


def head() -> Array:
    """(1, 197, 233, 189) float32 of the MNI152 average brain, its intensities standardised."""
    mni = entry("data", "mni152")
    image, _ = mni.open(mni.params(), "segment", LABELS).volume
    prepared, _ = ZScore().apply(image, GridTransform.identity(image))
    return prepared.array


def seconds(call: Callable[[], Any]) -> float:
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    call()
    return clock() - start


def slice_seconds(backend: Backend, stack: Array, index: int) -> float:
    """Slice `index` of (S, C, H, W), as the Predictor gives it to a graph: its foreground with what that needs."""
    geometry = backend.metadata.geometry
    box = bounding_box(stack[index, 0])
    assert box is not None
    context, _ = with_margin(box, stack.shape[2:], margin=geometry.margin, multiple=geometry.multiple)
    image = slice_with_neighbours(stack, index, geometry.slices // 2)[(slice(None), *context)][None]
    return seconds(lambda: backend.run({"image": image}, ["labels"]))


def unet_beside(cnn: Backend, array: Array) -> dict[str, Any]:
    """The released U-Net of seven slices on the same head: every so-manieth slice, both in turn."""
    unet = OnnxBackend(UNET, device="cpu", threads=torch.get_num_threads())
    stack = np.moveaxis(array, 3, 0)
    chosen = [index for index in range(EVERY // 2, len(stack), EVERY) if stack[index].any()]
    slice_seconds(unet, stack, chosen[0])
    pairs = [(slice_seconds(cnn, stack, index), slice_seconds(unet, stack, index)) for index in chosen]
    return {
        "slices": len(pairs),
        "U-Net over patch CNN, all slices": round(sum(b for _, b in pairs) / sum(a for a, _ in pairs), 3),
        "of a slice": spread([b / a for a, b in pairs]),
    }


def speed() -> dict[str, Any]:
    net, array = network(), head()
    plane = array[:, :, :, array.shape[3] // 2]
    box = bounding_box(plane[0])
    assert box is not None
    image = np.ascontiguousarray(plane[(slice(None), *box)])[None]
    pixels = image.shape[2] * image.shape[3]
    backend = OnnxBackend(exported(net), where="patch-cnn", device="cpu", threads=torch.get_num_threads())
    tiled = OnnxBackend(exported(network("winograd")), where="winograd", device="cpu", threads=torch.get_num_threads())
    whole_numbers = integer_bytes(exported(net), [{"image": image}])
    fast: dict[str, Backend] = {
        "int8": OnnxBackend(whole_numbers, where="int8", device="cpu", threads=torch.get_num_threads())
    }
    if not is_emulated("cpu"):
        fast["bf16"] = TorchBackend(network(), metadata(net), device="cpu", bf16=True)
    whole = torch.from_numpy(np.ascontiguousarray(plane)[None])
    padded = torch.nn.functional.pad(torch.from_numpy(image), (6,) * 4)
    patches = padded.unfold(2, 13, 1).unfold(3, 13, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 1, 13, 13)
    some = patches[: 2 * PATCHES].contiguous()
    windows = SlidingWindowInferer(roi_size=(64, 64), overlap=0.25)
    left, right = (np.random.default_rng(n).random((2048, 2048), np.float32) for n in range(2))
    with torch.inference_mode():
        rows: dict[str, Callable[[], Any]] = {
            "dense": lambda: backend.run({"image": image}, ["labels"]),
            "winograd": lambda: tiled.run({"image": image}, ["labels"]),
            **{name: partial(graph.run, {"image": image}, ["labels"]) for name, graph in fast.items()},
            "patches": lambda: [net.logits(some[i : i + PATCHES]) for i in range(0, len(some), PATCHES)],
            "windows": lambda: windows(whole, lambda x: net(x)["probabilities"]),
            "matmul": lambda: left @ right,
        }
        for call in rows.values():
            call()
        times = [{name: seconds(call) for name, call in rows.items()} for _ in range(REPEATS)]
    for row in times:
        # Patches are timed on the first 2048 of the slice; each costs the same.
        row["patches"] *= pixels / len(some)
    macs = sum(p.numel() for name, p in net.named_parameters() if name.endswith("weight"))
    peak = [2 * 2048**3 / row["matmul"] for row in times]
    answers = [graph.run({"image": image}) for graph in (backend, tiled)]

    def ratios(graph: str) -> dict[str, Any]:
        rate = [2 * macs * pixels / row[graph] for row in times]
        return {
            "GFLOP/s, direct convolution": round(float(np.median(rate)) / 1e9, 1),
            "rate over matmul rate": spread([a / b for a, b in zip(rate, peak, strict=True)]),
            "patches of 1024 over it": spread([row["patches"] / row[graph] for row in times]),
            "MONAI SlidingWindowInferer (64, 0.25) over it": spread([row["windows"] / row[graph] for row in times]),
        }

    return {
        "slice": list(whole.shape[2:]),
        "foreground": list(image.shape[2:]),
        "parameters": sum(p.numel() for p in net.parameters()),
        "threads": torch.get_num_threads(),
        "clock": "processor" if torch.get_num_threads() == 1 else "wall",
        "seconds": {name: round(float(np.median([row[name] for row in times])), 3) for name in rows},
        "matmul 2048^3 GFLOP/s": round(float(np.median(peak)) / 1e9, 1),
        "direct": ratios("dense"),
        "winograd, float32 too": {
            **ratios("winograd"),
            "direct over it": spread([row["dense"] / row["winograd"] for row in times]),
            "largest difference of probabilities": float(
                np.abs(answers[0]["probabilities"] - answers[1]["probabilities"]).max()
            ),
            "mean Dice lost": round(1 - dice(answers[0]["labels"], answers[1]["labels"]), 6),
        },
        **{
            f"{name}, the fast mode": {
                "direct over it": spread([row["dense"] / row[name] for row in times]),
                "winograd over it": spread([row["winograd"] / row[name] for row in times]),
                "mean Dice to float32's labels, of random weights": round(
                    dice(answers[0]["labels"], graph.run({"image": image})["labels"]), 6
                ),
            }
            for name, graph in fast.items()
        },
        "U-Net": {name: unet_beside(graph, array) for name, graph in (("direct", backend), ("winograd", tiled))},
    }


def dice(one: Array, other: Array) -> float:
    """Mean over the labels that occur."""
    scores = [2 * ((one == n) & (other == n)).sum() / ((one == n).sum() + (other == n).sum()) for n in np.unique(one)]
    return float(np.mean(scores))


def spread(ratios: list[float]) -> dict[str, float]:
    low, middle, high = (round(float(v), 2) for v in np.quantile(ratios, [0, 0.5, 1]))
    return {"median": middle, "least": low, "most": high}


def memory(convolution: Literal["direct", "winograd"]) -> dict[str, Any]:
    """Peak memory of a whole head over that of the loaded model, in a process of its own.

    All slices but the middle ten are blanked: memory does not grow with their number, only time does.
    """
    model = Path(__file__).parent / "results" / ".patch_cnn.onnx"
    model.write_bytes(exported(network(convolution)))
    try:
        command = [sys.executable, "-m", "benchmarks.patch_cnn", "--memory", str(model)]
        words = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    finally:
        model.unlink()
    loaded, peak = (int(word) / 1024 for word in words[-2:])
    return {
        "head": [197, 233, 189],
        "MB with the model loaded": round(loaded),
        "peak MB over that": round(peak - loaded),
    }


def memory_here(model: Path) -> None:
    backend = OnnxBackend(model, device="cpu", threads=2)
    array = np.array(head())
    middle = array.shape[3] // 2
    array[..., : middle - 5] = 0
    array[..., middle + 5 :] = 0
    loaded = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of reading
    segment_array(backend, array)
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
    print(loaded, peak)


def main() -> None:
    if "--memory" in sys.argv:
        memory_here(Path(sys.argv[-1]))
        return
    # One file for each kind of processor: what is fast differs.
    name = "patch_cnn_without_bf16" if is_emulated("cpu") else "patch_cnn"
    record(name, speed=speed(), memory={name: memory(name) for name in ("direct", "winograd")})


if __name__ == "__main__":
    main()
