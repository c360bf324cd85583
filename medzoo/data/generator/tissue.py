"""Variation within one tissue: noise, slow changes, and the gradual passage from grey to white."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from medzoo.data.generator.structures import GREY, WHITE
from medzoo.data.generator.warp import smooth_field
from medzoo.types import Array


def paint(labels: Array, target: Array, means: Array, spread: Array, rng: np.random.Generator) -> Array:
    """(*shape) float32: intensities of label bytes, uneven as tissue is.

    `target`: tissues (see structures); `means`, `spread`: of every label byte (256,), as contrast draws them.
    """
    scan: Array = means[labels]
    solid = (target == GREY) | (target == WHITE)
    scan = _gradual(scan, solid, rng)
    # At the voxel, and over some millimetres.
    uneven: Array = rng.standard_normal(labels.shape, dtype=np.float32)
    uneven = 0.8 * uneven + 0.6 * smooth_field(rng, labels.shape, spacing=rng.uniform(4, 10))
    scan += spread[labels] * uneven
    # Folia of the cerebellum are finer than the label maps show them: grey and white in turn.
    folia = (labels == 8) | (labels == 47)
    grain: Array = gaussian_filter(rng.standard_normal(labels.shape, dtype=np.float32), 0.8, truncate=3)
    scan += folia * grain * np.float32(rng.uniform(0.05, 0.5))
    # Cortex is more myelinated in some regions than in others, white matter denser in some tracts.
    for tissue, most in ((GREY, 0.05), (WHITE, 0.03)):
        slow = rng.uniform(0, most) * smooth_field(rng, labels.shape, spacing=rng.uniform(12, 40))
        scan += slow * (target == tissue)
    return scan


def _gradual(scan: Array, solid: Array, rng: np.random.Generator) -> Array:
    """Deep layers of the cortex look a little like white matter and white matter below it like grey: a part of
    what is seen is the mean over some voxels, of solid tissue alone, for fluid mixes with nothing."""
    share, reach = np.float32(rng.uniform(0, 0.35)), rng.uniform(0.8, 2.5)
    inside = solid.astype(np.float32)
    near = gaussian_filter(scan * inside, reach, mode="constant", truncate=3)
    near /= np.maximum(gaussian_filter(inside, reach, mode="constant", truncate=3), 1e-6)
    result: Array = np.where(solid, (1 - share) * scan + share * near, scan)
    return result
