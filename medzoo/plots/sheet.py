"""A sheet of small figures with a line of words each."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image as Pillow

from medzoo.plots.canvas import blank_figure, draw_text, shorten

GAP = 10
_WIDTH, _TEXT = 400, 14


def tile(figure: Pillow.Image, words: str, *, width: int = _WIDTH) -> Pillow.Image:
    """A figure made `width` pixels wide, and below it `words` in two lines at most."""
    height = max(1, round(figure.height * width / figure.width))
    small = figure.resize((width, height), Pillow.Resampling.LANCZOS)
    made = blank_figure(width, height + 2 * _TEXT + 12)
    made.paste(small, (0, 0))
    name, _, rest = words.partition(": ")
    for row, line in enumerate((name, rest)):
        draw_text(made, (4, height + 2 + row * (_TEXT + 4)), shorten(line, width - 8, _TEXT), size=_TEXT)
    return made


def side_by_side(figures: Sequence[Pillow.Image], names: Sequence[str], *, below: bool = False) -> Pillow.Image:
    """Figures next to each other, or one `below` the other, each with its name."""
    sizes = [figure.size for figure in figures]
    if below:
        made = blank_figure(max(w for w, _ in sizes), sum(h for _, h in sizes))
    else:
        made = blank_figure(sum(w for w, _ in sizes), max(h for _, h in sizes))
    x = y = 0
    for figure, name in zip(figures, names, strict=True):
        made.paste(figure, (x, y))
        draw_text(made, (x + 16, y + 14), name, size=24)
        x, y = (x, y + figure.height) if below else (x + figure.width, y)
    return made


def sheet(rows: Sequence[Sequence[Pillow.Image]]) -> Pillow.Image:
    """Rows of tiles, one below the other; tiles of a row need not be of one size."""
    widths = [sum(one.width + GAP for one in row) - GAP for row in rows]
    heights = [max(one.height for one in row) for row in rows]
    made = blank_figure(max(widths), sum(heights) + GAP * (len(rows) - 1))
    top = 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for one in row:
            made.paste(one, (left, top))
            left += one.width + GAP
        top += height + GAP
    return made


def sheet_jpeg(rows: Sequence[Sequence[Pillow.Image]]) -> bytes:
    """`sheet` as JPEG."""
    out = io.BytesIO()
    sheet(rows).save(out, format="JPEG", quality=82, optimize=True)
    return out.getvalue()


def in_rows(tiles: Sequence[Pillow.Image], columns: int) -> list[Sequence[Pillow.Image]]:
    """Tiles in rows of so many."""
    return [tiles[n : n + columns] for n in range(0, len(tiles), columns)]
