"""Inputs as they are handed from the host steps to the graph, and on to the decoding of its outputs."""

from __future__ import annotations

from dataclasses import dataclass, field

from medzoo.preprocess.extras import Extras
from medzoo.types import GridTransform, Image


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
