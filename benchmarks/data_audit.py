"""How the audit's time grows with the number of images: python benchmarks/data_audit.py [largest number].

Writes benchmarks/results/data_audit.json: seconds for n / 8, n / 4, n / 2 and n images of 256 x 256 (speckle on
coarse structure), and the CPU time an image takes at n over that at n / 8.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from scipy.ndimage import gaussian_filter

from medzoo.data.audit import audit
from medzoo.data.layouts import image_folder
from medzoo.data.split import make_split


@dataclass(frozen=True)
class Section:
    group: str = "none"
    given: bool = False
    train: float | None = None
    val: float = 0.15
    test: float = 0.15
    seed: int = 0
    stratify: bool = True
    folds: int | None = None
    fold: int | None = None


def write_images(root: Path, count: int) -> None:
    for k in range(count):
        draw = np.random.default_rng(k)
        picture = sum(gaussian_filter(draw.standard_normal((256, 256)), s) * s for s in (1.5, 4, 12, 30))
        low, high = np.percentile(picture, [1, 99])
        path = root / ("a" if k % 2 else "b") / f"{k:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(np.clip(200 * (picture - low) / (high - low), 0, 255).astype(np.uint8)).save(path)


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().split("\n")
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}"


def main(largest: int) -> None:
    rows = []
    for count in (largest // 8, largest // 4, largest // 2, largest):
        with tempfile.TemporaryDirectory() as folder:
            write_images(Path(folder), count)
            data = image_folder.ENTRY.open(image_folder.Params(root=Path(folder)), "classify", ["a", "b"])
            split = make_split(data.items(), Section())
            wall, work = time.perf_counter(), time.process_time()
            found = audit(data, split)
            wall, work = time.perf_counter() - wall, time.process_time() - work
        rows.append(
            {"images": count, "seconds": round(wall, 2), "cpu_seconds": round(work, 2), "leaks": len(found.leaks)}
        )
        print(rows[-1], file=sys.stderr)
    first, last = (row["cpu_seconds"] / row["images"] for row in (rows[0], rows[-1]))
    result = {"machine": machine(), "runs": rows, "cpu_per_image_last_over_first": round(last / first, 3)}
    out = Path(__file__).parent / "results" / "data_audit.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
