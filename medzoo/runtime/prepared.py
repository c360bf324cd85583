"""Inputs after the host steps, and notes on how much of them the graph sees."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from medzoo.preprocess.extras import Extras
from medzoo.runtime.backends.canvas import downscale_factor
from medzoo.types import GridTransform, Image

if TYPE_CHECKING:
    from medzoo.runtime.predictor import Predictor

_REDUCED = 3.0
"""Times that a detector's picture may be reduced in silence, twice as often for all others: the largest pictures of the
released models' training sets were reduced 3.3 and 5.5 times."""
_SMALL, _LARGE = 640, 2500  # pixels along the longer side


@dataclass(frozen=True, eq=False)
class Prepared:
    """An input after the host steps: source image, prepared image, and the transform between their grids."""

    name: str
    source: Image
    image: Image
    transform: GridTransform
    tile: tuple[int, int] | None = None
    """Height and width of a detector's tiles; None for the whole picture at once."""
    extras: Extras = field(default_factory=dict)
    """See medzoo.preprocess.extras."""
    phases: tuple[Prepared, ...] = ()
    """Each phase of an input that has several, in order; this is then the first."""
    anyway: bool = False
    """Answer it even if it is not what the model was trained on."""


def downscale_notes(prepared: Prepared, predictor: Predictor) -> tuple[str, ...]:
    """Return a note if a picture was shrunk far more than those of training."""
    if prepared.source.affine is not None or len(prepared.transform.shape) != 2:
        return ()
    if max(prepared.source.shape) < _SMALL:
        return ()
    by_steps = float(np.linalg.norm(prepared.transform.matrix[:2, :2], axis=0).max())
    canvas = predictor.canvas
    seen: tuple[int, ...] = prepared.transform.shape
    if prepared.tile is not None:
        seen = tuple(min(pair) for pair in zip(seen, prepared.tile, strict=True))
    factor = by_steps * (1.0 if canvas is None else downscale_factor(seen, canvas))
    plain = predictor.task.gives_boxes and not predictor.steps
    if factor <= (_REDUCED if plain else 2 * _REDUCED):
        return ()
    if predictor.accepts_outline and max(prepared.source.shape) <= _LARGE:
        return ()  # the patch around a mass is made small in any picture
    height, width = prepared.source.shape if prepared.tile is None else seen
    way = "tile=True (--tile auto) looks at it in tiles" if plain else "give the part of it that matters"
    if prepared.tile is not None:
        return (f"its tiles of {width} x {height} pixels were reduced {factor:.1f} times: smaller ones see more",)
    held = f"its {width} x {height} pixels were reduced {factor:.1f} times"
    return (f"{held}, small objects and fine detail are lost; {way}",)
