"""Drawing shared by all figures: text, legends, labels laid over grey values, and fast PNG files."""

from __future__ import annotations

import struct
import zlib
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


@lru_cache(maxsize=8)
def font(size: int = TEXT) -> Any:
    """Pillow's own outline font."""
    return ImageFont.load_default(size)


def text_width(text: str, size: int = TEXT) -> int:
    """Width of one line in pixels."""
    return int(np.ceil(font(size).getlength(text)))


def shorten(text: str, width: int, size: int = TEXT) -> str:
    """`text`, its middle left out if it is wider than `width` pixels."""
    if text_width(text, size) <= width:
        return text
    for keep in range(len(text) // 2, 1, -1):
        short = f"{text[:keep]}...{text[-keep:]}"
        if text_width(short, size) <= width:
            return short
    return ""


def blank_figure(width: int, height: int) -> Pillow.Image:
    """A dark figure."""
    return Pillow.new("RGB", (width, height), BACKGROUND)


def draw_text(
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
        name = shorten(name, width - 2 * size, size)
        need = 2 * size + text_width(name, size) + size
        if x and x + need > width:
            rows.append([])
            x = 0
        rows[-1].append((x, name, colour))
        x += need
    step = int(1.6 * size)
    figure = blank_figure(width, step * len(rows))
    draw = ImageDraw.Draw(figure)
    for r, row in enumerate(rows):
        for x, name, colour in row:
            top = r * step + (step - size) // 2
            draw.rectangle((x, top, x + size, top + size), fill=colour)
            draw_text(figure, (x + 1.5 * size, r * step + step / 2), name, size=size, anchor="lm")
    return figure


def overlay(grey: Array, labels: Array, *, opacity: float, thickness: int = 1) -> Array:
    """RGB (H, W, 3) of `grey` (H, W) or (H, W, 3) uint8 with `labels` (H, W) uint8 tinted, rims full colour."""
    present = np.flatnonzero(np.bincount(labels.ravel()))
    # What every grey value becomes under every label: looked up, that is a tenth of the arithmetic.
    shown = np.arange(256, dtype=np.float32)[None, :, None]
    table = np.repeat(shown, len(present), 0).repeat(3, 2)
    for row, value in enumerate(present):
        if value:
            colour = np.array(colour_of(int(value) - 1), np.float32)
            table[row] = np.floor(shown[0] * (1 - opacity) + colour * opacity + 0.5)
    table = table.astype(np.uint8)
    rows = np.searchsorted(present, np.arange(present[-1] + 1)).astype(np.intp)[labels]
    if grey.ndim == 2:
        picture = table.reshape(-1, 3)[rows * 256 + grey]
    else:
        picture = np.stack([table[rows, grey[..., channel], channel] for channel in range(3)], axis=-1)
    for value in present:
        if value:
            picture[rim(labels == value, thickness)] = colour_of(int(value) - 1)
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
    return atomic_write(path, lambda handle: handle.write(png_bytes(figure)))


_EFFORT = 1  # of 9; three times slower for a tenth less at 6
_SUB = 1
_COLOUR = 2  # eight bits of red, green and blue


def png_bytes(figure: Pillow.Image) -> bytes:
    """A PNG file of an RGB figure, pixel for pixel."""
    pixels: Array = np.asarray(figure if figure.mode == "RGB" else figure.convert("RGB"))
    height, width, channels = pixels.shape
    rows = pixels.reshape(height, width * channels)
    filtered = np.empty((height, 1 + width * channels), np.uint8)
    filtered[:, 0] = _SUB
    filtered[:, 1 : 1 + channels] = rows[:, :channels]
    np.subtract(rows[:, channels:], rows[:, :-channels], out=filtered[:, 1 + channels :])
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR, 0, 0, 0)
    packed = zlib.compress(filtered.data, _EFFORT)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return b"".join(
        [struct.pack(">I", len(content)), kind, content, struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))]
    )
