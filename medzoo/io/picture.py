"""PNG, JPEG, TIFF and BMP pictures as an Image, with the bits they store."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError

from medzoo.errors import UserError
from medzoo.io.channels import over_black
from medzoo.io.check import check_picture_size, check_values
from medzoo.io.limits import limits
from medzoo.io.regular import open_regular
from medzoo.types import Array, Image

READS = ("PNG", "JPEG", "TIFF", "BMP")
TIFF_BITS, TIFF_PHOTOMETRIC, EXIF_ORIENTATION = 258, 262, 0x0112
TIFF_TILE_WIDTH, TIFF_TILE_LENGTH = 322, 323
JPEG_START_OF_SCAN = b"\xff\xda"
MOST_SCANS = 1000


def read_picture(path: Path) -> Image:
    """A picture as an Image (1 or 3, H, W): grey or RGB, 8-bit uint8, 16-bit uint16, TIFF float float32.

    A palette becomes its colours, transparency darkens towards black, EXIF orientation is undone (so H and W
    are those of the picture as it is looked at). Nothing but the bytes of this file is read, whatever its metadata
    name. Raises UserError that names the file.
    """
    where = str(path)
    try:
        with warnings.catch_warnings(), open_regular(path) as handle:
            warnings.simplefilter("ignore")  # Pillow's quote damaged tags, and what cannot be read is raised
            with Pillow.open(handle, formats=READS) as opened:
                _check_size(opened, where)
                _check_scans(opened, handle, where)
                orientation = opened.getexif().get(EXIF_ORIENTATION, 1)
                array = _deep_colour(opened, handle, where)
                if array is None:
                    array = _array(opened)
                meta = {"format": opened.format or "", "bits": 8 * array.dtype.itemsize}
    except (Pillow.DecompressionBombError, MemoryError) as error:
        raise UserError("is larger than medzoo reads", where, f"at most {limits().pixels} pixels") from error
    except UnidentifiedImageError as error:
        raise UserError("is not a picture, or is damaged", where, "PNG, JPEG, TIFF or BMP is read") from error
    except UserError:
        raise
    except Exception as error:  # every decoder of Pillow has its own way of failing on damaged bytes
        raise UserError(f"is truncated or damaged: {error}", where) from error
    if orientation != 1:
        meta["exif_orientation"] = int(orientation)
    check_values(array, where)
    return Image(array, None, where, meta)


def from_pillow(picture: Any, *, source: str = "picture") -> Image:
    """Convert a Pillow picture to an Image as `read_picture` does. Raises UserError.

    What Pillow cut to 8 bits as it opened a file (colour of 16) is lost: such a file is read by its path. Of a file of
    several pages it is the page at which the picture stands, and `meta["notes"]` says which.
    """
    check_picture_size(picture.width, picture.height, source)
    try:
        array = _array(picture)
    except Exception as error:  # an opened file is only decoded here
        raise UserError(f"is truncated or damaged: {error}", source) from error
    check_values(array, source)
    meta: dict[str, Any] = {"format": picture.format or "", "bits": 8 * array.dtype.itemsize}
    if picture.format != "MPO" and getattr(picture, "is_animated", False):
        meta["notes"] = (f"this is the page at which the picture stands, {picture.tell()} from 0, of several",)
    return Image(array, None, source, meta)


def _check_size(opened: Any, where: str) -> None:
    """Check the size in the header against the limits before decoding; refuse several pages."""
    check_picture_size(opened.width, opened.height, where)
    if opened.format == "TIFF":
        tags = opened.tag_v2
        if TIFF_TILE_WIDTH in tags:
            check_picture_size(int(tags[TIFF_TILE_WIDTH]), int(tags.get(TIFF_TILE_LENGTH, 1)), where)
        pages = _pages(opened)
    else:
        pages = 1 if opened.format == "MPO" else getattr(opened, "n_frames", 1)
    if pages > 1:
        count = f"more than {limits().pages}" if pages > limits().pages else str(pages)
        raise UserError(f"holds {count} pages", where, "save the page you need as its own file")


def _pages(opened: Any) -> int:
    """Number of pages of a TIFF, counted to one beyond the limit."""
    pages = 1
    try:
        while pages <= limits().pages:
            opened.seek(pages)
            pages += 1
    except EOFError:
        pass
    opened.seek(0)
    return pages


def _check_scans(opened: Any, handle: BinaryIO, where: str) -> None:
    """Refuse a JPEG of a great many scans, each of which takes a pass over the whole picture to decode."""
    if opened.format not in ("JPEG", "MPO"):
        return
    place, scans, last = handle.tell(), 0, b""
    handle.seek(0)
    while piece := handle.read(1 << 20):
        scans += (last + piece).count(JPEG_START_OF_SCAN)
        last = piece[-1:]
    handle.seek(place)
    if scans > MOST_SCANS:
        raise UserError(f"is a JPEG with {scans} scans", where, "save it again: usual files have about ten")


def _array(opened: Any) -> Array:
    """The values (C, H, W) of a picture that Pillow decodes without loss."""
    inverted = opened.format == "TIFF" and opened.tag_v2.get(TIFF_PHOTOMETRIC) == 0
    turned = opened.getexif().get(EXIF_ORIENTATION, 1) != 1
    picture = ImageOps.exif_transpose(opened) if turned else opened
    mode = picture.mode
    if mode.startswith("I;16"):
        grey = np.asarray(picture).astype(np.uint16)
        return (65535 - grey if inverted else grey)[None]
    if mode == "I":
        whole = np.asarray(picture)
        short = whole.min() >= 0 and whole.max() <= 65535
        return whole.astype(np.uint16 if short else np.int32)[None]
    if mode == "F":
        return np.asarray(picture, np.float32)[None]
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        return over_black(np.asarray(picture.convert("RGBA")), grey=mode in ("1", "L", "LA", "La"))
    if mode in ("1", "L"):
        return np.asarray(picture.convert("L"))[None]
    colour = np.asarray(picture if mode == "RGB" else picture.convert("RGB")).transpose(2, 0, 1)
    if mode == "P" and (colour[0] == colour[1]).all() and (colour[0] == colour[2]).all():
        return np.ascontiguousarray(colour[:1])
    return np.ascontiguousarray(colour)


def _deep_colour(opened: Any, handle: BinaryIO, where: str) -> Array | None:
    """(C, H, W) of 16-bit colour, which Pillow cuts to 8: TIFF read another way, PNG refused. None for all else."""
    if opened.format == "TIFF":
        bits = opened.tag_v2.get(TIFF_BITS, (8,))
        if len(bits) < 3 or max(bits) <= 8:
            return None
        from medzoo.io.tiff import oriented, read_deep_colour

        deep, has_opacity = read_deep_colour(handle, where)
        deep = oriented(deep, int(opened.getexif().get(EXIF_ORIENTATION, 1)))
        return over_black(deep) if has_opacity else np.ascontiguousarray(deep.transpose(2, 0, 1))
    if opened.format == "PNG":
        place = handle.tell()
        handle.seek(0)
        head = handle.read(26)
        handle.seek(place)
        if head[24] == 16 and head[25] != 0:
            raise UserError("is a PNG of 16-bit colour", where, "save it as TIFF, which keeps all 16 bits")
    return None
