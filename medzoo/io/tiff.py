"""TIFF pictures of more than 8 bits a colour, which Pillow cuts to 8: the first page, from the bytes given alone."""

from __future__ import annotations

import logging
import math
import zlib
from typing import Any, BinaryIO

import numpy as np

from medzoo.errors import UserError
from medzoo.io.check import check_picture_size
from medzoo.types import Array

# Its warnings quote what a file says, and go to stderr where nobody handles them.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

# TIFF 6.0 and its supplements: tags and values.
RGB, UNASSOCIATED_ALPHA = 2, 2
PREDICTORS = (1, 2, 3)
DEFLATE = (8, 32946)
COMPRESSIONS = {1: "none", 5: "LZW", 32773: "PackBits", **dict.fromkeys(DEFLATE, "deflate")}
# Most bytes into which one of the stored data unpacks.
RATIO = {1: 1, 5: 1366, 32773: 64, **dict.fromkeys(DEFLATE, 1032)}
_SLACK = 1 << 26
_WAY_OUT = "save it without compression or with deflate"


def read_deep_colour(handle: BinaryIO, where: str) -> tuple[Array, bool]:
    """The first page of an open TIFF as (H, W, 3 or 4), its dtype kept, and whether a fourth channel is an opacity that
    the colours are not yet multiplied by.

    tifffile's series, which follow the metadata (OME-XML, ImageJ, MicroManager) to further pages and other files, are
    not asked. Sizes that the page claims are checked before they are allocated. Raises UserError.
    """
    from tifffile import TiffFile, TiffPage

    handle.seek(0)
    page = TiffFile(handle, name="picture.tif").pages.first
    if not isinstance(page, TiffPage):  # it is one, unless tifffile was told otherwise
        raise UserError("has no page", where)
    _check(page, where)
    try:
        stored = page.asarray(maxworkers=1)
    except ValueError as error:
        if "imagecodecs" in str(error):
            name = COMPRESSIONS[int(page.compression)]
            raise UserError(
                f"is 16-bit colour compressed by {name}", where, f"{_WAY_OUT}, or: pip install imagecodecs"
            ) from error
        raise
    array = np.asarray(stored).reshape(_shape(page))
    array = array.transpose(1, 2, 0) if page.planarconfig == 2 else array
    has_opacity = page.samplesperpixel == 4 and (page.extrasamples or (UNASSOCIATED_ALPHA,))[0] == UNASSOCIATED_ALPHA
    return (array if has_opacity else array[..., :3]), has_opacity


def oriented(array: Array, orientation: int) -> Array:
    """(H, W, C) turned as EXIF's orientation 1 to 8 says, so that it lies as it is to be looked at."""
    if orientation in (5, 6, 7, 8):
        array = array.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return array


def _shape(page: Any) -> tuple[int, int, int]:
    size = (page.imagelength, page.imagewidth)
    return (page.samplesperpixel, *size) if page.planarconfig == 2 else (*size, page.samplesperpixel)


def _check(page: Any, where: str) -> None:
    """Refuse pages that are not plain RGB, and sizes that the stored bytes cannot hold."""
    if page.photometric != RGB or page.samplesperpixel not in (3, 4) or page.dtype is None or page.imagedepth != 1:
        kind = getattr(page.photometric, "name", page.photometric)
        raise UserError(
            f"is a TIFF of {page.samplesperpixel} channels of {page.bitspersample} bits ({kind})",
            where,
            "grey and RGB are read, RGB with opacity too",
        )
    if page.samplesperpixel == 4 and page.dtype.kind != "u":
        raise UserError("has an opacity channel of floating-point numbers", where, "save it without opacity")
    compression = int(page.compression)
    if compression not in COMPRESSIONS or int(page.predictor) not in PREDICTORS:
        name = getattr(page.compression, "name", compression)
        raise UserError(f"is 16-bit colour compressed by {name}", where, _WAY_OUT)
    check_picture_size(page.imagewidth, page.imagelength, where, itemsize=page.samplesperpixel * page.dtype.itemsize)
    if page.is_tiled:
        check_picture_size(page.tilewidth, page.tilelength, where, itemsize=page.samplesperpixel * page.dtype.itemsize)
    segment = math.prod(page.chunks) * page.dtype.itemsize
    grid = math.prod(page.chunked)
    if len(page.dataoffsets) < grid or len(page.databytecounts) < grid:
        raise UserError(f"is damaged: it has {len(page.dataoffsets)} of its {grid} strips or tiles", where)
    handle = page.parent.filehandle
    for number, (offset, length) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=False), 1):
        claim = f"its strip or tile {number} unpacks to more than the {segment} bytes that its header claims"
        if length > 2 * segment + (1 << 16):
            raise UserError(f"is damaged: {claim}", where)
        if compression in DEFLATE and length * RATIO[compression] > segment + _SLACK:
            handle.seek(offset)
            if _inflates_beyond(handle.read(length), segment):
                raise UserError(f"is damaged: {claim}", where)


def _inflates_beyond(packed: bytes, size: int) -> bool:
    """True if a zlib stream unpacks to more than `size` bytes; unpacked piece by piece."""
    unpacker, found = zlib.decompressobj(), 0
    while packed and not unpacker.eof and found <= size:
        found += len(unpacker.decompress(packed, 1 << 22))
        packed = unpacker.unconsumed_tail
    return found > size
