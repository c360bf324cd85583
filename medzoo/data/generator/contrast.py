"""Brightness of each structure: as in a T1-weighted or FLAIR scan, or random. Knows label bytes, no images."""

from __future__ import annotations

from typing import Literal

import numpy as np

from medzoo.data.generator.structures import BETWEEN, BETWEEN_FLAIR, BEYOND, PLEXUS, VENTRICLES, byte_of
from medzoo.types import Array

Contrast = Literal["t1-like", "flair-like", "random"]


def draw_contrast(rng: np.random.Generator, kind: Contrast) -> tuple[Array, Array]:
    """Mean and standard deviation of every label byte, each (256,) float32; white matter is about 1.

    "t1-like": fluid is darker than grey matter, grey darker than white; deep nuclei lie between them.
    "flair-like": fluid is darkest, grey matter a little brighter than white.
    "random": every group of structures anywhere between 0 and 1.2 (Billot et al. 2023, section 3.2).
    """
    return {"t1-like": _t1_like, "flair-like": _flair_like, "random": _random}[kind](rng)


def plain_contrast() -> Array:
    """(256,) uint8: one fixed T1-like brightness of every label byte, white matter 100 and what is outside brains 0."""
    means = np.zeros(256)
    for numbers, (low, high) in BETWEEN.items():
        means[list(numbers)] = 70 + 30 * (low + high) / 2
    means[[*VENTRICLES, 24]] = 25
    return means.astype(np.uint8)


def _t1_like(rng: np.random.Generator) -> tuple[Array, Array]:
    grey = rng.uniform(0.6, 0.83)
    fluid = rng.uniform(0.08, grey - 0.22)
    means = rng.uniform(0.1, 1.3, 256)
    for numbers, (low, high) in BETWEEN.items():
        means[list(numbers)] = grey + (1 - grey) * rng.uniform(low, high)
    means[list(VENTRICLES)] = max(0.03, fluid - abs(rng.normal(0, 0.03)))
    means[24] = fluid
    # Choroid plexus and the like inside the ventricles.
    means[list(PLEXUS)] = rng.uniform(fluid, grey)
    for numbers, (low, high) in BEYOND.items():
        means[[byte_of(n) for n in numbers]] = rng.uniform(low, high)
    means = means * rng.normal(1, 0.01, 256)
    means[0] = rng.uniform(0, 0.05)
    # Measured on single scans: white matter varies by 2 to 4 % of itself, cortex by twice that.
    spread = rng.uniform(0.005, 0.03) * rng.uniform(0.7, 1.4, 256)
    spread[[3, 42]] *= rng.uniform(1, 2)
    spread[[byte_of(n) for n in range(500, 535)]] = rng.uniform(0.02, 0.15)
    # Tracts and nuclei of the brain stem carry one label: white at its rim, as dark as cortex in the pons.
    spread[16] = rng.uniform(0.02, 0.12)
    spread[[10, 28, 49, 60]] *= rng.uniform(1, 3)
    spread[24] = rng.uniform(0.02, 0.09)
    spread[0] = 0.01
    return means.astype(np.float32), spread.astype(np.float32)


def _flair_like(rng: np.random.Generator) -> tuple[Array, Array]:
    grey = rng.uniform(1.1, 1.34)
    fluid = rng.uniform(0.05, 0.45)
    means = rng.uniform(0.1, 1.3, 256)
    for numbers, (low, high) in BETWEEN_FLAIR.items():
        means[list(numbers)] = grey + (1 - grey) * rng.uniform(low, high)
    means[list(VENTRICLES)] = max(0.02, fluid - abs(rng.normal(0, 0.08)))
    means[24] = fluid
    means[list(PLEXUS)] = rng.uniform(0.7, 2.0)
    for numbers, (low, high) in BEYOND.items():
        means[[byte_of(n) for n in numbers]] = rng.uniform(low, high)
    means = means * rng.normal(1, 0.01, 256)
    means[0] = rng.uniform(0, 0.05)
    # Measured on a single scan: white matter varies by 5 % of itself, cortex a little more, fluid by its own half.
    spread = rng.uniform(0.005, 0.04) * rng.uniform(0.7, 1.4, 256)
    spread[[3, 42]] *= rng.uniform(1, 2)
    spread[[byte_of(n) for n in range(500, 535)]] = rng.uniform(0.02, 0.15)
    spread[list(PLEXUS)] = rng.uniform(0.1, 0.4)
    spread[[*VENTRICLES, 24]] = rng.uniform(0.01, 0.12)
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
