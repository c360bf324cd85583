"""PNG files of figures, packed in a third of the time that Pillow takes.

Of a small figure, packing is most of what it costs. Pillow tries five filters on every row; images and flat colours
are packed as well by the difference to the pixel before, always (PNG specification, third edition, filter type 1).
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from PIL import Image as Pillow

from medzoo.types import Array

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
