"""Boxes of an annotation brought onto the picture as it is read, checked by the size that the annotation states.

A JPEG of a phone or camera is stored on its side with an EXIF orientation (CIPA DC-008, tag 0x0112), which
`medzoo.io` undoes. Some annotation tools show the stored pixels, others the turned ones; width and height tell which.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from medzoo.errors import UserError
from medzoo.types import Array, Image

Pixels = Literal["stored", "shown"]
Size = tuple[float, float]  # width, height
PIXELS = (
    "which pixels boxes count in, of pictures that their EXIF orientation turns: those stored in the file, or those "
    "shown; absent: as the annotation's width and height tell"
)


def stated_size(width: Any, height: Any, where: str) -> Size | None:
    """Width and height that an annotation states, as numbers or their text; None where it states none (absent or 0).

    Raises UserError, placed at `where`, for what is no size.
    """
    if width in (None, "") and height in (None, ""):
        return None
    try:
        if isinstance(width, bool) or isinstance(height, bool):
            raise TypeError
        size = float(width), float(height)
    except (TypeError, ValueError):
        raise UserError(f"gives a size of {width!r} x {height!r}", where, "width and height are pixels") from None
    if not any(size):
        return None
    if not all(np.isfinite(value) and value > 0 for value in size):
        raise UserError(f"gives a size of {width} x {height}", where, "width and height are pixels")
    return size


def on_picture(boxes: Array, image: Image, *, stated: Size | None, pixels: Pixels | None, where: str) -> Array:
    """Boxes (N, 4) of an annotation as boxes of `image` (C, H, W), whose EXIF orientation has been undone.

    `stated`: the size in the annotation; `pixels`: what the user says they count in. Raises UserError, placed at
    `where`, with both sizes if the annotation is of another size, and if it cannot be told which way its boxes lie.
    """
    height, width = image.shape
    orientation = int(image.meta.get("exif_orientation", 1))
    orientation = orientation if 2 <= orientation <= 8 else 1
    sizes = {"shown": (width, height), "stored": (height, width) if orientation > 4 else (width, height)}
    fits = [way for way, size in sizes.items() if stated in (None, size)]
    if not fits or (pixels is not None and orientation > 1 and pixels not in fits):
        asked = sizes[pixels] if pixels is not None and fits else (width, height)
        turned = f" (stored {_words(sizes['stored'])}, turned by its EXIF orientation)" if orientation > 4 else ""
        assert stated is not None
        raise UserError(
            f"is of a picture of {_words(stated)}, {image.source or 'the picture'} has {_words(asked)}{turned}",
            where,
            "correct width and height, or the picture",
        )
    if orientation == 1 or not len(boxes):
        return boxes
    if len(fits) > 1 and pixels is None:
        raise UserError(
            f"cannot be placed: an EXIF orientation ({orientation}) turns {image.source or 'the picture'}, and no size "
            "tells whether the boxes count stored or shown pixels",
            where,
            "set data.pixels to stored or shown",
        )
    return boxes if (pixels or fits[0]) == "shown" else turn_boxes(boxes, orientation, size=sizes["stored"])


def turn_boxes(boxes: Array, orientation: int, *, size: tuple[float, float]) -> Array:
    """Boxes (N, 4) of a stored picture of `size` (width, height) as boxes of the picture that is shown.

    `orientation` 1 to 8 as in EXIF: 2 mirrored left-right, 3 turned by 180 degrees, 4 mirrored up-down, 5 transposed,
    6 to be turned by 90 degrees clockwise, 7 transposed about the other diagonal, 8 by 90 degrees anticlockwise.
    """
    width, height = size
    x0, y0, x1, y1 = np.asarray(boxes, np.float64).reshape(-1, 4).T
    if orientation in (2, 3, 7, 8):
        x0, x1 = width - x1, width - x0
    if orientation in (3, 4, 6, 7):
        y0, y1 = height - y1, height - y0
    corners = (y0, x0, y1, x1) if orientation > 4 else (x0, y0, x1, y1)
    turned: Array = np.stack(corners, axis=1)
    return turned


def _words(size: Size) -> str:
    return f"{size[0]:g} x {size[1]:g}"
