"""Explanation figures: a heat map over the image, and a sheet of feature maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image as Pillow

from medzoo.plots.canvas import TEXT, blank_figure, draw_text, shorten
from medzoo.plots.colours import grey_window, to_bytes
from medzoo.types import Array, Image

TILE, GAP, COLUMNS = 96, 6, 8


def draw_heat(image: Image, heat: Array, *, title: str = "", opacity: float = 0.5) -> Pillow.Image:
    """The picture (C, H, W) with `heat` (H, W) in 0..1 over it, from nothing through red to yellow."""
    grey = to_bytes(image.array[0], grey_window(image.array[0])).astype(np.float32)
    strength = np.clip(heat, 0, 1)[..., None]
    colour = np.concatenate([np.full_like(strength, 255), 255 * np.clip(2 * strength - 1, 0, 1), 0 * strength], axis=2)
    mixed = grey[..., None] * (1 - opacity * strength) + colour * opacity * strength
    picture = Pillow.fromarray(np.clip(mixed, 0, 255).astype(np.uint8))
    figure = blank_figure(picture.width, picture.height + 2 * TEXT)
    figure.paste(picture, (0, 2 * TEXT))
    draw_text(figure, (GAP, TEXT // 2), shorten(title, picture.width - 2 * GAP))
    return figure


def draw_maps(layers: Sequence[tuple[str, Array]], *, title: str = "") -> Pillow.Image:
    """A sheet with a row of tiles a layer: the first maps of (C, h, w), each stretched over its own grey range."""
    row = TILE + GAP + int(1.5 * TEXT)
    width = COLUMNS * (TILE + GAP) + GAP
    figure = blank_figure(width, 2 * TEXT + row * len(layers))
    draw_text(figure, (GAP, TEXT // 2), shorten(title, width - 2 * GAP))
    for n, (name, maps) in enumerate(layers):
        top = 2 * TEXT + n * row
        shown = min(COLUMNS, len(maps))
        words = f"{name}: {len(maps)} maps of {maps.shape[1]} x {maps.shape[2]}"
        draw_text(figure, (GAP, top), shorten(words, width - 2 * GAP))
        for k in range(shown):
            low, high = float(maps[k].min()), float(maps[k].max())
            tile = np.rint(255 * (maps[k] - low) / max(high - low, 1e-12)).astype(np.uint8)
            picture = Pillow.fromarray(tile).resize((TILE, TILE), Pillow.Resampling.NEAREST).convert("RGB")
            figure.paste(picture, (GAP + k * (TILE + GAP), top + int(1.5 * TEXT)))
    return figure
