"""Connected components of a label map: the largest alone, none that is too small, holes filled. Arrays only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import binary_fill_holes, find_objects, label

from medzoo.runtime.metadata import ComponentRule
from medzoo.types import Array


def apply_rules(mask: Array, rules: Sequence[ComponentRule], *, voxel: float = 1.0) -> Array:
    """A label map uint8 (*spatial) after each rule in order; what a rule removes becomes background.

    Voxels that touch at a corner are connected. `voxel`: volume of one, mm^3 (1 for the pixels of a picture).
    """
    if not rules:
        return mask
    mask = mask.copy()
    for rule in rules:
        region = mask == rule.label
        found = find_objects(region.astype(np.uint8))
        if not found:
            continue
        place = found[0]
        part, own = mask[place], region[place]
        kept = keep_components(own, rule, voxel=voxel)
        part[own & ~kept] = 0
        part[kept & (part == 0)] = rule.label
    return mask


def keep_components(region: Array, rule: ComponentRule, *, voxel: float = 1.0) -> Array:
    """Bool, like `region`: what is left of it, and the holes in that where the rule fills them."""
    if rule.largest or rule.least_volume:
        parts, count = label(region, np.ones((3,) * region.ndim))
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        sizes[0] = 0
        stays = sizes * voxel >= rule.least_volume
        if rule.largest:
            stays &= np.arange(count + 1) == sizes.argmax()
        stays[0] = False
        region = stays[parts]
    filled: Array = binary_fill_holes(region) if rule.fill_holes else region
    return filled
