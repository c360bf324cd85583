"""Whole slides and large TIFF, read in tiles through tiffslide or OpenSlide, whichever is installed."""

from __future__ import annotations

import importlib.util
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from medzoo.errors import UserError, missing_extra
from medzoo.types import Array

SLIDES = (".svs", ".ndpi", ".scn", ".mrxs", ".bif", ".tif", ".tiff")
_OVERVIEW = 2048  # longest side, pixels, of the picture in which blank parts are told
_FLAT, _WHITE = 4.0, 228.0  # deviation and mean of grey levels of a part without tissue


class Slide:
    """An open slide; close it, or use it in a with statement. Coordinates of tiles are in pixels after downsampling."""

    def __init__(self, slide: Any, where: str) -> None:
        self._slide, self._where = slide, where

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._slide.close()

    @property
    def dimensions(self) -> tuple[int, int]:
        """Width and height of the slide in its own pixels."""
        width, height = self._slide.dimensions
        return int(width), int(height)

    def read(self, x: int, y: int, side: int, downsample: float = 1.0) -> Array:
        """A tile (3, side, side) uint8, its upper left corner at (x, y). Raises UserError for a damaged one."""
        from PIL import Image as Pillow

        level = int(self._slide.get_best_level_for_downsample(downsample + 1e-6))
        size = max(1, round(side * downsample / float(self._slide.level_downsamples[level])))
        try:
            region = self._slide.read_region((round(x * downsample), round(y * downsample)), level, (size, size))
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"the tile at {x}, {y} cannot be read: {error}", self._where) from error
        picture = region if isinstance(region, Pillow.Image) else Pillow.fromarray(np.asarray(region))
        # What lies beyond the scanned part has no opacity; slides are white there.
        white = Pillow.new("RGB", picture.size, (255, 255, 255))
        white.paste(picture.convert("RGB"), mask=picture.getchannel("A") if picture.mode == "RGBA" else None)
        tile = white if size == side else white.resize((side, side), Pillow.Resampling.BOX)
        return np.ascontiguousarray(np.asarray(tile).transpose(2, 0, 1))

    def is_blank(self, x: int, y: int, side: int, downsample: float = 1.0) -> bool:
        """True for a tile that is nearly white, or of one shade, in an overview of the slide."""
        scale = self._overview.shape[1] / self.dimensions[0] * downsample
        rows, columns = (slice(int(v * scale), max(int(v * scale) + 1, int((v + side) * scale))) for v in (y, x))
        part = self._overview[rows, columns]
        return not part.size or float(part.std()) < _FLAT or float(part.mean()) > _WHITE

    @cached_property
    def _overview(self) -> Array:
        picture = self._slide.get_thumbnail((_OVERVIEW, _OVERVIEW))
        return np.asarray(picture.convert("L"), np.float32)


def open_slide(path: Path) -> Slide:
    """Open a slide. Raises UserError where no library is installed that reads it, and for what is no slide."""
    for package, name in (("tiffslide", "TiffSlide"), ("openslide", "OpenSlide")):
        if importlib.util.find_spec(package) is None:
            continue
        kind = getattr(importlib.import_module(package), name)
        try:
            return Slide(kind(str(path)), str(path))
        except Exception as error:  # of tifffile, zarr or the C library: each has its own
            raise UserError(f"{package} cannot open it: {' '.join(str(error).split())[:120]}", str(path)) from error
    raise missing_extra("tiffslide", "slides")
