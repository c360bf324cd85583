"""Time of the audit by the number of images: python -m benchmarks.data_audit [largest number]

Seconds for n / 4, n / 2 and n images of 256 x 256 (speckle on coarse structure), on all cores, and the CPU time an
image takes at n over that at n / 4. The pictures are made once, by all cores, before anything is measured.
"""

from __future__ import annotations

import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from scipy.ndimage import gaussian_filter

from benchmarks.record import record
from medzoo.data.audit.audit import audit
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


def write_image(root: Path, number: int) -> None:
    """One picture; class and file name by its number."""
    draw = np.random.default_rng(number)
    # Coarse structure is drawn on coarse grids: ten thousand large filters would outlast what is measured.
    picture = gaussian_filter(draw.standard_normal((256, 256)).astype(np.float32), 1.5) * 1.5
    for side in (64, 21, 9):
        coarse = gaussian_filter(draw.standard_normal((side, side)).astype(np.float32), 1)
        picture += np.asarray(Pillow.fromarray(coarse).resize((256, 256), Pillow.Resampling.BICUBIC))
    low, high = np.percentile(picture[::4, ::4], [1, 99])
    path = root / ("a" if number % 2 else "b") / f"{number:05d}.png"
    Pillow.fromarray(np.clip(200 * (picture - low) / (high - low), 0, 255).astype(np.uint8)).save(path)


def write_images(root: Path, numbers: range) -> None:
    """The pictures of these numbers, below root/a and root/b."""
    for number in numbers:
        write_image(root, number)


def main(largest: int) -> None:
    rows = []
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor() as pool:
        root, start = Path(folder), 0
        for label in ("a", "b"):
            (root / label).mkdir()
        for count in (largest // 4, largest // 2, largest):
            chunks = [range(first, min(first + 250, count)) for first in range(start, count, 250)]
            list(pool.map(write_images, [root] * len(chunks), chunks))
            start = count
            data = image_folder.ENTRY.open(image_folder.Params(root=root), "classify", ["a", "b"])
            split = make_split(data.items(), Section())
            wall, work = time.perf_counter(), time.process_time()
            found = audit(data, split)
            wall, work = time.perf_counter() - wall, time.process_time() - work
            rows.append(
                {"images": count, "seconds": round(wall, 2), "cpu_seconds": round(work, 2), "leaks": len(found.leaks)}
            )
            print(rows[-1], file=sys.stderr)
    first, last = (row["cpu_seconds"] / row["images"] for row in (rows[0], rows[-1]))
    record("data_audit", runs=rows, cpu_per_image_last_over_first=round(last / first, 3))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
