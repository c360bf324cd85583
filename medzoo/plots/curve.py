"""Curves over the steps of a training, in panels one below the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from medzoo.plots.canvas import TEXT, blank, text_width, write
from medzoo.plots.colours import FAINT, INK, colour_of

_WIDTH, _HEIGHT, _PAD, _LEFT = 900, 320, 24, 100
_GRID = (60, 60, 60)
_TICKS = 4


@dataclass(frozen=True)
class Series:
    """A named curve: points (x, y), in the order of x."""

    name: str
    points: Sequence[tuple[float, float]]


def draw_curves(panels: Sequence[tuple[str, Sequence[Series]]], *, title: str, end: float) -> Pillow.Image:
    """Panels (words, series) from 0 to `end` along x, a legend above each. Values that are not finite are left out.

    What lies beyond the 98th percentile is drawn at the panel's rim, so that a first large loss hides nothing.
    """
    figure = blank(_WIDTH, (_HEIGHT + _PAD) * len(panels) + 3 * _PAD)
    write(figure, (_PAD, _PAD // 2), title)
    for number, (words, series) in enumerate(panels):
        _panel(figure, 2 * _PAD + number * (_HEIGHT + _PAD), words, series, end=max(1.0, end))
    return figure


def _panel(figure: Pillow.Image, top: int, words: str, series: Sequence[Series], *, end: float) -> None:
    draw = ImageDraw.Draw(figure)
    left, right = _LEFT, _WIDTH - _PAD
    high, low = top + 2 * TEXT, top + _HEIGHT - 2 * TEXT  # of the frame, in pixels from above
    shown = [[(x, y) for x, y in one.points if np.isfinite(y)] for one in series]
    values = np.array([y for points in shown for _, y in points] or [0.0])
    least, most = float(values.min()), float(np.quantile(values, 0.98))
    most = most if most > least else least + max(abs(least) * 0.1, 1e-9)
    write(figure, (left, top), words, colour=FAINT)
    for k in range(_TICKS + 1):
        y = low - (low - high) * k / _TICKS
        draw.line((left, y, right, y), fill=_GRID)
        write(figure, (left - 8, y), f"{least + (most - least) * k / _TICKS:.3g}", size=15, anchor="rm")
        x = left + (right - left) * k / _TICKS
        anchor = "ra" if k == _TICKS else "ma"
        write(figure, (x, low + 6), f"{end * k / _TICKS:.0f}", size=15, anchor=anchor)
    write(figure, ((left + right) / 2, low + 6 + TEXT), "step", size=15, colour=FAINT, anchor="ma")
    x = right
    for number, one in reversed(list(enumerate(series))):
        x -= text_width(one.name)
        write(figure, (x, top), one.name, colour=colour_of(number))
        x -= _PAD
    for number, points in enumerate(shown):
        places = [
            (
                left + (right - left) * min(1.0, px / end),
                low - (low - high) * float(np.clip((py - least) / (most - least), 0, 1)),
            )
            for px, py in points
        ]
        if len(places) > 1:
            draw.line(places, fill=colour_of(number), width=2)
        for px, py in places if len(places) <= 60 else places[-1:]:
            draw.ellipse((px - 2, py - 2, px + 2, py + 2), fill=colour_of(number))
    draw.rectangle((left, high, right, low), outline=INK)
