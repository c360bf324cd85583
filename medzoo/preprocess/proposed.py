"""Proposed regions in place of an image, and their boxes, as a step hands them to the graph.

The boxes travel in `Image.meta`, as a mass does (medzoo.preprocess.mass).
"""

from __future__ import annotations

from medzoo.types import Array, Image


def with_proposed(image: Image, regions: Array, boxes: Array) -> Image:
    """The regions (R, C, h, w) as the array; `boxes` (R, 4) lie on the grid that the transform starts from."""
    return image.replace(array=regions, affine=None, meta={**image.meta, "proposed": boxes})


def proposed_of(image: Image) -> Array | None:
    """The boxes (R, 4) of the regions, None where no step proposed any."""
    found: Array | None = image.meta.get("proposed")
    return found
