"""Lesion mimics, bright in healthy FLAIR scans: rims and caps of ventricles, septum, plexus, flow."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, maximum_filter

from medzoo.data.generator.structures import GREY, SUPRATENTORIAL_WHITE, VENTRICLES, table
from medzoo.data.generator.warp import smooth_field
from medzoo.imaging.resize import stretch
from medzoo.types import Array


def add_mimics(scan: Array, labels: Array, target: Array, rng: np.random.Generator) -> None:
    """Change `scan` (*shape) float32, in which white matter is about 1, in place; each kind in some scans only.

    `labels`: label bytes; `target`: tissues (see structures).
    """
    shape = labels.shape
    white, fluid = table(*SUPRATENTORIAL_WHITE)[labels], table(*VENTRICLES, 24)[labels]
    lateral = table(4, 43, 5, 44)[labels]
    # A wall of one or two voxels, here and there, and caps at the horns: the label maps' own lesions lie there.
    near = maximum_filter(lateral, size=3)
    wall = white & (near if rng.random() < 0.6 else maximum_filter(near, size=3))
    patchy = np.clip(smooth_field(rng, shape, spacing=rng.uniform(8, 20)) + rng.uniform(-0.5, 1), 0, 1.2)
    scan += np.float32(rng.uniform(0, 0.3)) * patchy * wall
    if rng.random() < 0.6:
        caps = table(25, 57, 77)[labels] & maximum_filter(near, size=3)
        scan += np.float32(rng.uniform(0, 0.45)) * patchy * caps
    # White matter fades from the ventricles outwards.
    few = gaussian_filter(lateral[::2, ::2, ::2].astype(np.float32), rng.uniform(2, 5), truncate=3)
    scan += np.float32(rng.uniform(0, 0.25)) * stretch(few, shape) * white
    septum = maximum_filter(table(4)[labels], size=3) & maximum_filter(table(43)[labels], size=3)
    if rng.random() < 0.8:
        scan[septum] = np.float32(rng.uniform(0.8, 1.6))
    # Plexus, and fluid that moved while it was to be nulled.
    if rng.random() < 0.7:
        tufts = lateral & (smooth_field(rng, shape, spacing=rng.uniform(3, 6)) > rng.uniform(1.2, 2.2))
        scan[tufts] += np.float32(rng.uniform(0.3, 1.6))
    if rng.random() < 0.7:
        flow = fluid & (smooth_field(rng, shape, spacing=rng.uniform(3, 8)) > rng.uniform(1.2, 2.2))
        scan[flow] += np.float32(rng.uniform(0.2, 1.3))
    # Limbic and insular cortex is brighter than the rest.
    scan += np.float32(rng.uniform(0, 0.12)) * smooth_field(rng, shape, spacing=rng.uniform(15, 40)) * (target == GREY)
