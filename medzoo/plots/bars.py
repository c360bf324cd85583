"""Horizontal bars, one a row, with a thin line to a second, larger value; panels of them under one another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image as Pillow
from PIL import ImageDraw

from medzoo.plots.canvas import TEXT, blank_figure, draw_text, save_png, text_width
from medzoo.plots.colours import FAINT, colour_of

_PAD, _ROW, _BAR = 24, 40, 520

Rows = Sequence[tuple[str, float, float]]
"""Label, value, and a value at least as large (the same where there is no spread)."""


def draw_bars(panels: Sequence[tuple[str, str, Rows]]) -> Pillow.Image:
    """`panels` (title, unit, rows); the bars of a panel start at 0 and share one scale."""
    panels = [(title, unit, rows) for title, unit, rows in panels if rows]
    longest = max(text_width(label) for _, _, rows in panels for label, _, _ in rows)
    words = max(text_width(_words(unit, value, high)) for _, unit, rows in panels for _, value, high in rows)
    width = max(longest + _BAR + words + 4 * _PAD, *(text_width(title) + 2 * _PAD for title, _, _ in panels))
    figure = blank_figure(width, sum(_height(rows) for _, _, rows in panels))
    top = 0
    for title, unit, rows in panels:
        _panel(figure, top, title, unit, rows, left=longest + 2 * _PAD)
        top += _height(rows)
    return figure


def _height(rows: Rows) -> int:
    return _ROW * (len(rows) + 1) + 2 * _PAD


def _words(unit: str, value: float, high: float) -> str:
    spread = f" (to {high:.3g})" if high > value else ""
    return f"{value:.3g} {unit}{spread}"


def _panel(figure: Pillow.Image, top: int, title: str, unit: str, rows: Rows, *, left: int) -> None:
    draw = ImageDraw.Draw(figure)
    draw_text(figure, (_PAD, top + _PAD), title)
    scale = _BAR / (max(high for _, _, high in rows) or 1)
    for number, (label, value, high) in enumerate(rows):
        y = top + _PAD + _ROW * (number + 1)
        middle = y + TEXT // 2
        draw_text(figure, (left - _PAD / 2, middle), label, anchor="rm")
        draw.rectangle((left, y, left + value * scale, y + TEXT), fill=colour_of(1))
        draw.line((left + value * scale, middle, left + high * scale, middle), fill=FAINT, width=2)
        draw_text(figure, (left + _BAR + _PAD / 2, middle), _words(unit, value, high), anchor="lm")


def plot_bars(path: str | Path, panels: Sequence[tuple[str, str, Rows]]) -> Path:
    """`draw_bars` as PNG; returns the path."""
    return save_png(path, draw_bars(panels))
