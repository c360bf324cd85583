"""Horizontal bars, one a row, with a thin line to a second, larger value."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image as Pillow
from PIL import ImageDraw

from medzoo.plots.canvas import TEXT, blank, save_png, text_width, write
from medzoo.plots.colours import FAINT, colour_of

_PAD, _ROW, _BAR = 24, 40, 520


def draw_bars(rows: Sequence[tuple[str, float, float]], *, title: str, unit: str) -> Pillow.Image:
    """Bars from 0 of `rows` (label, value, larger value), which all share one scale."""
    longest = max(text_width(label) for label, _, _ in rows)
    figures = [f"{value:.3g} {unit} (to {high:.3g})" for _, value, high in rows]
    width = longest + _BAR + max(map(text_width, figures)) + 4 * _PAD
    figure = blank(max(width, text_width(title) + 2 * _PAD), _ROW * (len(rows) + 1) + 2 * _PAD)
    draw = ImageDraw.Draw(figure)
    write(figure, (_PAD, _PAD), title)
    scale = _BAR / max(high for _, _, high in rows)
    left = longest + 2 * _PAD
    for number, ((label, value, high), words) in enumerate(zip(rows, figures, strict=True)):
        top = _PAD + _ROW * (number + 1)
        middle = top + TEXT // 2
        write(figure, (left - _PAD / 2, middle), label, anchor="rm")
        draw.rectangle((left, top, left + value * scale, top + TEXT), fill=colour_of(1))
        draw.line((left + value * scale, middle, left + high * scale, middle), fill=FAINT, width=2)
        write(figure, (left + _BAR + _PAD / 2, middle), words, anchor="lm")
    return figure


def plot_bars(path: str | Path, rows: Sequence[tuple[str, float, float]], *, title: str, unit: str) -> Path:
    """`draw_bars` as PNG; returns the path."""
    return save_png(path, draw_bars(rows, title=title, unit=unit))
