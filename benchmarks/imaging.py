"""Speed of the classical algorithms as ratios, both sides in one run: python benchmarks/imaging.py

Writes benchmarks/results/imaging.json. The two sides of a ratio alternate, so that a busy machine slows
both; what is reported is the median of the paired ratios and their spread. One thread on either side.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402

from medzoo.imaging.shape import chord_statistics  # noqa: E402
from medzoo.imaging.smoothing import knn_smooth  # noqa: E402
from medzoo.imaging.texture import texture_properties  # noqa: E402

REPEATS = 9
KINDS = ("float32", "uint8")
ENGINES: tuple[Literal["numpy", "numba"], ...] = ("numpy", "numba")
RESULTS = Path(__file__).parent / "results" / "imaging.json"
NAMES = {"asm": "ASM", "contrast": "contrast", "correlation": "correlation", "idm": "homogeneity",
         "entropy": "entropy"}  # fmt: skip


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def paired(ours: Callable[[], Any], other: Callable[[], Any], *, repeats: int = REPEATS) -> dict[str, Any]:
    """Median and range of other / ours over paired repeats, after one warm-up of each."""
    ours(), other()
    pairs = [(seconds(ours), seconds(other)) for _ in range(repeats)]
    ratios = sorted(b / a for a, b in pairs)
    return {
        "ratio": round(float(np.median(ratios)), 2),
        "spread": [round(ratios[0], 2), round(ratios[-1], 2)],
        "seconds": round(float(np.median([a for a, _ in pairs])), 5),
        "other_seconds": round(float(np.median([b for _, b in pairs])), 5),
        "repeats": repeats,
    }


def texture() -> dict[str, Any]:
    """256 regions of 64 x 64, 32 levels, four angles, five properties."""
    from skimage.feature import graycomatrix, graycoprops

    regions = np.random.default_rng(0).integers(0, 32, (256, 64, 64)).astype(np.uint8)
    angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]

    def ours() -> np.ndarray:
        values = texture_properties(regions, levels=32)
        return np.stack([values[name].mean(axis=-1) for name in NAMES], axis=-1)

    def other() -> np.ndarray:
        rows = []
        for region in regions:
            matrix = graycomatrix(region, [1], angles, 32, symmetric=True, normed=True)
            rows.append([graycoprops(matrix, name).mean() for name in NAMES.values()])
        return np.array(rows)

    result = paired(ours, other)
    return {"other": "scikit-image graycomatrix + graycoprops", "need": 8, **result,
            "difference": float(np.abs(ours() - other()).max()), "allowed": 1e-10}  # fmt: skip


def numpy_loop(image: np.ndarray, size: int, neighbours: int) -> np.ndarray:
    """The filter pixel by pixel, as one writes it down (ties averaged)."""
    r = size // 2
    padded = np.pad(image.astype(np.float64), r, mode="reflect")
    out = np.empty(image.shape)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            window = padded[y : y + size, x : x + size].ravel()
            far = np.abs(window - padded[y + r, x + r])
            bound = np.partition(far, neighbours - 1)[neighbours - 1]
            nearer, level = far < bound, far == bound
            left = neighbours - nearer.sum()
            out[y, x] = (window[nearer].sum() + window[level].mean() * left) / neighbours
    return out


def smoothing(kind: str, engine: Literal["numpy", "numba"]) -> dict[str, Any]:
    """512 x 512, m = 5, K = 9: against the plain loop and against torch's unfold + topk."""
    import torch

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    # Floats have no ties, so topk's choice among equals does not matter; bytes have many.
    image = rng.normal(size=(512, 512)).astype(np.float32)
    if kind == "uint8":
        image = np.clip(128 + 40 * image, 0, 255).astype(np.uint8)
    tensor = torch.from_numpy(image.astype(np.float32))[None, None]

    def ours() -> np.ndarray:
        return knn_smooth(image, size=5, neighbours=9, engine=engine)

    def unfold_topk() -> np.ndarray:
        padded = torch.nn.functional.pad(tensor, (2, 2, 2, 2), mode="reflect")
        windows = torch.nn.functional.unfold(padded, 5)[0]
        nearest = (windows - windows[12]).abs().topk(9, dim=0, largest=False, sorted=False).indices
        return windows.gather(0, nearest).mean(dim=0).reshape(512, 512).numpy()

    loop = paired(ours, lambda: numpy_loop(image, 5, 9), repeats=7)
    topk = paired(ours, unfold_topk)
    loop |= {"need": 30, "difference": float(np.abs(ours() - numpy_loop(image, 5, 9)).max()), "allowed": 1e-6}
    topk |= {"need": 5}
    if kind == "float32":
        topk |= {"difference": float(np.abs(ours() - unfold_topk()).max()), "allowed": 1e-6}
    return {"plain numpy loop": loop, "torch unfold + topk": topk}


def growth() -> dict[str, Any]:
    """Time for four times the input over time for the input: at most about four where a step is linear."""
    rng = np.random.default_rng(0)
    small, large = (rng.integers(0, 256, (n, n)).astype(np.uint8) for n in (512, 1024))
    few, many = (rng.integers(0, 32, (n, 64, 64)).astype(np.uint8) for n in (64, 256))
    outline = rng.normal(size=(256, 2))

    def texture_of(regions: np.ndarray) -> None:
        texture_properties(regions, levels=32)

    return {
        "knn_smooth, 1024 over 512": paired(lambda: knn_smooth(small), lambda: knn_smooth(large)),
        "glcm, 256 over 64 regions": paired(lambda: texture_of(few), lambda: texture_of(many)),
        "chord statistics of 256 points, seconds": seconds(lambda: chord_statistics(outline)),
    }


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return {"cpu": model, "cores": os.cpu_count(), "threads used": 1, "python": platform.python_version(),
            "numpy": np.__version__}  # fmt: skip


def main() -> None:
    result = {
        "machine": machine(),
        "glcm": texture(),
        "knn_smooth": {
            f"{kind}, {engine}": smoothing(kind, engine) for kind in ("float32", "uint8") for engine in ENGINES
        },
        "growth": growth(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    beside = RESULTS.with_suffix(".part")
    beside.write_text(json.dumps(result, indent=2) + "\n")
    beside.replace(RESULTS)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
