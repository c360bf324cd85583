"""How bright each structure is: like a T1-weighted scan, or anything at all. Knows label bytes, no images."""

from __future__ import annotations

from typing import Literal

import numpy as np

from medzoo.data.generator.structures import BETWEEN, BEYOND, VENTRICLES, byte_of
from medzoo.types import Array

Contrast = Literal["t1-like", "random"]


def draw_contrast(rng: np.random.Generator, kind: Contrast) -> tuple[Array, Array]:
    """Mean and standard deviation of every label byte, each (256,) float32; white matter is about 1.

    "t1-like": fluid is darker than grey matter, grey darker than white; deep nuclei lie between them.
    "random": every group of structures anywhere between 0 and 1.2 (Billot et al. 2023, section 3.2).
    """
    return _t1_like(rng) if kind == "t1-like" else _random(rng)


def _t1_like(rng: np.random.Generator) -> tuple[Array, Array]:
    grey = rng.uniform(0.6, 0.83)
    fluid = rng.uniform(0.08, grey - 0.22)
    means = rng.uniform(0.1, 1.3, 256)
    for numbers, (low, high) in BETWEEN.items():
        means[list(numbers)] = grey + (1 - grey) * rng.uniform(low, high)
    means[list(VENTRICLES)] = max(0.03, fluid - abs(rng.normal(0, 0.03)))
    means[24] = fluid
    # Choroid plexus and the like inside the ventricles.
    means[[136, 137, 163, 164]] = rng.uniform(fluid, grey)
    for numbers, (low, high) in BEYOND.items():
        means[[byte_of(n) for n in numbers]] = rng.uniform(low, high)
    means = means * rng.normal(1, 0.01, 256)
    means[0] = rng.uniform(0, 0.05)
    # Measured on single scans: white matter varies by 2 to 4 % of itself, cortex by twice that.
    spread = rng.uniform(0.005, 0.03) * rng.uniform(0.7, 1.4, 256)
    spread[[3, 42]] *= rng.uniform(1, 2)
    spread[[byte_of(n) for n in range(500, 535)]] = rng.uniform(0.02, 0.15)
    spread[24] = rng.uniform(0.02, 0.09)
    spread[0] = 0.01
    return means.astype(np.float32), spread.astype(np.float32)


def _random(rng: np.random.Generator) -> tuple[Array, Array]:
    means, spread = rng.uniform(0, 1.2, 256), rng.uniform(0.005, 0.12, 256)
    for numbers in [*BETWEEN, (*VENTRICLES, 24), *BEYOND]:
        places = [byte_of(n) for n in numbers]
        means[places], spread[places] = rng.uniform(0, 1.2), rng.uniform(0.005, 0.12)
    if rng.random() < 0.5:
        means[0] = 0.0
    return means.astype(np.float32), spread.astype(np.float32)
