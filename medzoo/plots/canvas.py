"""What every figure draws: text, legends, and labels laid over grey values."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from medzoo.io.atomic import atomic_write
from medzoo.plots.colours import BACKGROUND, INK, Colour, colour_of
from medzoo.types import Array

TEXT = 18
_EFFORT = 2  # of 9: packing is most of what a picture costs, and three times slower for a tenth less at 6


@lru_cache(maxsize=8)
def font(size: int = TEXT) -> Any:
    """Pillow's own outline font."""
    return ImageFont.load_default(size)


def text_width(text: str, size: int = TEXT) -> int:
    """Width of one line in pixels."""
    return int(np.ceil(font(size).getlength(text)))


def fitted(text: str, width: int, size: int = TEXT) -> str:
    """`text`, its middle left out if it is wider than `width` pixels."""
    if text_width(text, size) <= width:
        return text
    for keep in range(len(text) // 2, 1, -1):
        short = f"{text[:keep]}...{text[-keep:]}"
        if text_width(short, size) <= width:
            return short
    return ""


def blank(width: int, height: int) -> Pillow.Image:
    """A dark figure."""
    return Pillow.new("RGB", (width, height), BACKGROUND)


def write(
    figure: Pillow.Image,
    at: tuple[float, float],
    text: str,
    *,
    colour: Colour = INK,
    size: int = TEXT,
    anchor: str = "la",
) -> None:
    """One line of text with a dark rim, readable over any grey; `anchor` as in Pillow."""
    draw = ImageDraw.Draw(figure)
    draw.text(at, text, fill=colour, font=font(size), anchor=anchor, stroke_width=2, stroke_fill=BACKGROUND)


def legend(names: Sequence[tuple[str, Colour]], width: int, size: int = TEXT) -> Pillow.Image:
    """Swatches with their names, in as many rows as `width` asks for."""
    rows: list[list[tuple[int, str, Colour]]] = [[]]
    x = 0
    for name, colour in names:
        name = fitted(name, width - 2 * size, size)
        need = 2 * size + text_width(name, size) + size
        if x and x + need > width:
            rows.append([])
            x = 0
        rows[-1].append((x, name, colour))
        x += need
    step = int(1.6 * size)
    figure = blank(width, step * len(rows))
    draw = ImageDraw.Draw(figure)
    for r, row in enumerate(rows):
        for x, name, colour in row:
            top = r * step + (step - size) // 2
            draw.rectangle((x, top, x + size, top + size), fill=colour)
            write(figure, (x + 1.5 * size, r * step + step / 2), name, size=size, anchor="lm")
    return figure


def overlay(grey: Array, labels: Array, *, opacity: float, thickness: int = 1) -> Array:
    """RGB (H, W, 3) of `grey` (H, W) or (H, W, 3) uint8 with `labels` (H, W) tinted, rims full colour."""
    picture = np.repeat(grey[..., None], 3, 2) if grey.ndim == 2 else grey.copy()
    for value in np.unique(labels):
        if not value:
            continue
        inside = labels == value
        colour = np.array(colour_of(int(value) - 1), np.float32)
        tinted = picture[inside] * (1 - opacity) + colour * opacity
        picture[inside] = np.floor(tinted + 0.5).astype(np.uint8)
        picture[rim(inside, thickness)] = colour.astype(np.uint8)
    return picture


def rim(inside: Array, thickness: int = 1) -> Array:
    """The pixels of a region (H, W) within `thickness` of its outside; the picture's border is no outside."""
    core = inside
    for _ in range(thickness):
        padded = np.pad(core, 1, mode="edge")
        core = core & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.asarray(inside & ~core)


def save_png(path: str | Path, figure: Pillow.Image) -> Path:
    """Write a figure as PNG, whole or not at all. Raises UserError."""
    return atomic_write(path, lambda handle: figure.save(handle, format="PNG", compress_level=_EFFORT))
