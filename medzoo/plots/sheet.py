"""A sheet of small figures with a line of words each."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image as Pillow

from medzoo.plots.canvas import blank, fitted, write

_WIDTH, _TEXT, _GAP = 400, 14, 10


def tile(figure: Pillow.Image, words: str, *, width: int = _WIDTH) -> Pillow.Image:
    """A figure made `width` pixels wide, and below it `words` in two lines at most."""
    height = max(1, round(figure.height * width / figure.width))
    small = figure.resize((width, height), Pillow.Resampling.LANCZOS)
    made = blank(width, height + 2 * _TEXT + 12)
    made.paste(small, (0, 0))
    name, _, rest = words.partition(": ")
    for row, line in enumerate((name, rest)):
        write(made, (4, height + 2 + row * (_TEXT + 4)), fitted(line, width - 8, _TEXT), size=_TEXT)
    return made


def beside(figures: Sequence[Pillow.Image], names: Sequence[str], *, below: bool = False) -> Pillow.Image:
    """Figures next to each other, or one `below` the other, each with its name."""
    sizes = [figure.size for figure in figures]
    if below:
        made = blank(max(w for w, _ in sizes), sum(h for _, h in sizes))
    else:
        made = blank(sum(w for w, _ in sizes), max(h for _, h in sizes))
    x = y = 0
    for figure, name in zip(figures, names, strict=True):
        made.paste(figure, (x, y))
        write(made, (x + 16, y + 14), name, size=24)
        x, y = (x, y + figure.height) if below else (x + figure.width, y)
    return made


def sheet(tiles: Sequence[Pillow.Image], *, columns: int = 3) -> Pillow.Image:
    """Tiles of one width in rows."""
    rows = [tiles[n : n + columns] for n in range(0, len(tiles), columns)]
    width = max(one.width for one in tiles)
    heights = [max(one.height for one in row) for row in rows]
    made = blank((width + _GAP) * min(columns, len(tiles)) - _GAP, sum(heights) + _GAP * (len(rows) - 1))
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for n, one in enumerate(row):
            made.paste(one, (n * (width + _GAP), top))
        top += height + _GAP
    return made


def sheet_jpeg(tiles: Sequence[Pillow.Image], *, columns: int = 3) -> bytes:
    """`sheet` as JPEG."""
    out = io.BytesIO()
    sheet(tiles, columns=columns).save(out, format="JPEG", quality=82, optimize=True)
    return out.getvalue()
