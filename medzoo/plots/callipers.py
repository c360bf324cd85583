"""Outlines of masks, and diameters as callipers, drawn on a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from medzoo.plots.canvas import TEXT, draw_text, text_width
from medzoo.plots.colours import Colour
from medzoo.types import Array

TRUTH: Colour = (255, 255, 255)
_LINE: Colour = (255, 255, 255)
_TICK = 7  # screen pixels on either side of a line


@dataclass(frozen=True, eq=False)
class Calliper:
    """Two diameters: `ends` (2, 2, 2), of each both ends as x, y in pixels, and their lengths in words."""

    ends: Array
    words: str


def draw_outlines(draw: ImageDraw.ImageDraw, rings: Sequence[Array], scale: float, colour: Colour, width: int) -> None:
    """Closed rings (P, 2) of x, y in pixels, `scale` screen pixels each."""
    for ring in rings:
        points = [(float(x) * scale, float(y) * scale) for x, y in ring]
        draw.line([*points, points[0]], fill=colour, width=width, joint="curve")


def draw_callipers(picture: Pillow.Image, callipers: Sequence[Calliper], scale: float) -> None:
    """Each pair of diameters as lines with ticks, and its lengths beside the lower end."""
    draw = ImageDraw.Draw(picture)
    for one in callipers:
        ends = np.asarray(one.ends, float) * scale
        for start, stop in ends:
            along = stop - start
            length = float(np.hypot(*along))
            tick = np.array([-along[1], along[0]]) / length * _TICK if length else np.zeros(2)
            for width, colour in ((3, (0, 0, 0)), (1, _LINE)):
                draw.line([*map(tuple, (start, stop))], fill=colour, width=width)
                for end in (start, stop):
                    draw.line([*map(tuple, (end - tick, end + tick))], fill=colour, width=width)
        size = TEXT - 4
        low = ends.reshape(-1, 2)[ends.reshape(-1, 2)[:, 1].argmax()]
        left = min(max(0.0, float(low[0]) + 6), max(0.0, picture.width - text_width(one.words, size) - 3))
        top = min(float(low[1]) + 4, picture.height - size - 4)
        draw_text(picture, (left, top), one.words, size=size)
