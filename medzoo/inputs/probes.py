"""Seeded images for the parity check of an export: smooth blobs and noise, without any data."""

from __future__ import annotations

import numpy as np

from medzoo.runtime.metadata import Geometry
from medzoo.runtime.parity.gate import Golden
from medzoo.types import Array


def image_probes(geometry: Geometry, *, seed: int = 0, low: float = 0.0, high: float = 255.0) -> list[Golden]:
    """Seeded probe images of several batches and sizes: smooth blobs and noise between `low` and `high`.

    float32 (B, C, H, W), or (B, C, D, H, W) for a geometry of dims 3; borders are zero, as in stripped scans.
    """
    rng = np.random.default_rng(seed)
    channels = geometry.channels * geometry.slices
    sizes = [(1, 40), (2, 33), (3, 48), (1, 57)] if geometry.dims == 2 else [(1, 32), (2, 24)]
    found = []
    for batch, side in sizes:
        shape = tuple(side + 5 * axis for axis in range(geometry.dims))
        found.append(
            Golden(
                f"probe {batch}x{channels}x{'x'.join(map(str, shape))}",
                {"image": np.stack([blobs(rng, channels, shape, low, high) for _ in range(batch)])},
            )
        )
    return found


def blobs(rng: np.random.Generator, channels: int, shape: tuple[int, ...], low: float, high: float) -> Array:
    """(C, *shape) float32 of four smooth blobs and noise between `low` and `high`; the corners are zero."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    total = np.zeros(shape)
    for _ in range(4):
        centre = rng.uniform(-0.5, 0.5, len(shape)).reshape(-1, *[1] * len(shape))
        total += rng.uniform(0.3, 1) * np.exp(-((grid - centre) ** 2).sum(0) / rng.uniform(0.02, 0.2))
    image = np.repeat((low + (high - low) * total / total.max())[None], channels, 0)
    image = image + rng.normal(0, 0.03 * (high - low), image.shape)
    image[:, (grid**2).sum(0) > 1.2] = 0
    # Whole half-precision values, so that storing them as float16 loses nothing.
    result: Array = image.astype(np.float16).astype(np.float32)
    return result
