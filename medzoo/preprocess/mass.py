"""Hints about a mass for the step that measures it, and that step's measurements.

Both travel in `Image.meta`: steps before the measuring one pass them on as they pass on a header's facts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from medzoo.types import Array, Image

Provenance = Literal["given", "found", "box"]


@dataclass(frozen=True, eq=False)
class Hint:
    """The place of a mass, as far as it was given: an outline `mask` (*spatial) or a `box` [x0, y0, x1, y1],
    both on the source image's grid; or neither."""

    mask: Array | None = None
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, eq=False)
class Measured:
    """A mass that was measured: its features by name, its outline on the source's grid, and whence that came.

    `mask` (*spatial) bool; `size`: the one number that the size-only baseline ranks by (diameter, in the
    unit of the outline); `notes`: what had to be done to the outline; `weights` (R,): how much each of several
    candidate outlines counts, where the vector has a row for each.
    """

    features: Mapping[str, float]
    outline: Provenance
    mask: Array | None
    size: float
    notes: tuple[str, ...] = ()
    weights: tuple[float, ...] = (1.0,)


def with_hint(image: Image, hint: Hint) -> Image:
    """The image with what was said of its mass."""
    return image.replace(meta={**image.meta, "hint": hint})


def hint_of(image: Image) -> Hint:
    """The hint about the image's mass, empty if there was none."""
    hint: Hint = image.meta.get("hint", Hint())
    return hint


def measured_of(image: Image) -> Measured | None:
    """The measurements of a mass, None if no step measured."""
    found: Measured | None = image.meta.get("measured")
    return found


def with_measured(image: Image, vector: Array, measured: Measured) -> Image:
    """The image whose array is the vector (F,) of features that a classifier takes."""
    return image.replace(array=vector, affine=None, meta={**image.meta, "measured": measured})
