"""Extras that host steps pass on beside the image: hints about a mass, its measurements, boxes of proposed regions.

A mapping from names to values. Values are numbers, text, arrays, lists, mappings, or dataclasses of this file, so that
another process can receive them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from medzoo.types import Array

Extras = Mapping[str, Any]
Provenance = Literal["given", "found", "box"]

MASS_HINT = "mass_hint"
"""A MassHint, for a step that measures or crops a mass."""
MASS = "mass"
"""The Mass that a step measured or cropped."""
PROPOSED_BOXES = "proposed_boxes"
"""Boxes (R, 4) of the regions (R, C, h, w) that a step put in the image's place, on the grid of the transform."""


@dataclass(frozen=True, eq=False)
class MassHint:
    """The place of a mass as far as the caller gave it, on the source's grid: an outline `mask` (*spatial), a `box`
    [x0, y0, x1, y1], or neither. `found`: the outline was found by another model and not drawn by a person."""

    mask: Array | None = None
    box: tuple[float, float, float, float] | None = None
    found: bool = False


@dataclass(frozen=True, eq=False)
class Mass:
    """A mass that a step measured or cropped.

    `features`: measurements by name; `outline`: whether its outline was given, found, or found in a given box; `mask`
    (*spatial) bool: the outline on the source's grid; `size`: the diameter in the unit of the outline, by which the
    size-only baseline ranks; `notes`: how the outline was changed; `weights` (R,): the weight of each of several
    candidate outlines, where the image's array has a row for each.
    """

    features: Mapping[str, float]
    outline: Provenance
    mask: Array | None
    size: float
    notes: tuple[str, ...] = ()
    weights: tuple[float, ...] = (1.0,)


def mass_hint(extras: Extras) -> MassHint:
    """The hint about the mass; an empty one if none was given."""
    hint: MassHint = extras.get(MASS_HINT, MassHint())
    return hint


def mass(extras: Extras) -> Mass | None:
    """The mass that a step measured or cropped; None if none did."""
    measured: Mass | None = extras.get(MASS)
    return measured
