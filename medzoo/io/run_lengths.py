"""COCO's run-length encoding of masks."""

from __future__ import annotations

import numpy as np

from medzoo.types import Array


def run_lengths(mask: Array) -> list[int]:
    """Lengths of the runs of a mask (H, W), column by column, the first of zeros (COCO's uncompressed RLE)."""
    flat = np.asarray(mask, bool).ravel(order="F")
    edges = np.flatnonzero(np.diff(np.r_[False, flat, False]))
    lengths = np.diff(np.r_[0, edges, len(flat)])
    return [int(n) for n in lengths[: len(lengths) - (lengths[-1] == 0)]]
