"""Time to paste masks onto a large picture: python -m benchmarks.masks

100 masks of 28 x 28 in boxes of 40 to 240 pixels on a picture of 2000 x 2000. The two sides alternate: medzoo's map of
instances, and each mask resized to its box (Pillow, bilinear) into a full picture of its own. Writes
benchmarks/results/masks.json. One thread.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402
from PIL import Image as Pillow  # noqa: E402

from benchmarks.imaging import RESULTS as IMAGING  # noqa: E402
from benchmarks.imaging import paired  # noqa: E402
from medzoo.imaging.instance_masks import InstanceMasks  # noqa: E402
from medzoo.types import Array, GridTransform  # noqa: E402

RESULTS = IMAGING.with_name("masks.json")
SIDE, COUNT, PATCH = 2000, 100, 28


def made() -> InstanceMasks:
    """Round masks in boxes anywhere on the picture."""
    rng = np.random.default_rng(0)
    size = rng.uniform(40, 240, (COUNT, 2))
    low = rng.uniform(0, 1, (COUNT, 2)) * (SIDE - size)
    y, x = (np.indices((PATCH, PATCH)) + 0.5) / PATCH - 0.5
    patches = 1 / (1 + np.exp(30 * (np.hypot(x, y) - rng.uniform(0.3, 0.5, (COUNT, 1, 1)))))
    grid = GridTransform((SIDE, SIDE), (SIDE, SIDE), np.eye(3))
    return InstanceMasks(patches, np.hstack([low, low + size]), grid)


def naive(masks: InstanceMasks) -> list[Array]:
    """A full picture a mask."""
    found = []
    for patch, box in zip(masks.patches, masks.boxes, strict=True):
        x0, y0, x1, y1 = (round(v) for v in box)
        part = Pillow.fromarray(patch).resize((x1 - x0, y1 - y0), Pillow.Resampling.BILINEAR)
        whole = np.zeros(masks.shape, np.float32)
        whole[y0:y1, x0:x1] = np.asarray(part)
        found.append(whole >= 0.5)
    return found


def processor_seconds(masks: InstanceMasks) -> float:
    """Time of the processor for one map of instances, whatever else the machine does."""
    start = time.process_time()
    masks.label_map()
    return time.process_time() - start


def main() -> None:
    """Measure, print and write."""
    masks = made()
    found: dict[str, Any] = {
        "what": f"{COUNT} masks of {PATCH} x {PATCH} on {SIDE} x {SIDE} pixels, one thread",
        **paired(masks.label_map, lambda: naive(masks)),
    }
    found["milliseconds"] = round(1000 * float(np.median([processor_seconds(masks) for _ in range(9)])), 1)
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
