"""PNG, JPEG, TIFF and BMP pictures as an Image, with the bits they store."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError

from medzoo.errors import UserError
from medzoo.io.check import check_picture_size, check_values
from medzoo.io.limits import limits
from medzoo.types import Array, Image

READS = ("PNG", "JPEG", "TIFF", "BMP")
TIFF_BITS, TIFF_PHOTOMETRIC, EXIF_ORIENTATION = 258, 262, 0x0112


def read_picture(path: Path) -> Image:
    """A picture as an Image (1 or 3, H, W): grey or RGB, 8-bit uint8, 16-bit uint16, TIFF float float32.

    A palette becomes its colours, transparency darkens towards black, EXIF orientation is undone (so H and W
    are those of the picture as it is looked at). Raises UserError that names the file.
    """
    where = str(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)
            with Pillow.open(path, formats=READS) as opened:
                _check_size(opened, where)
                array = _deep_colour(opened, path)
                if array is None:
                    array = _array(opened)
                meta = {"format": opened.format or "", "bits": 8 * array.dtype.itemsize}
                orientation = opened.getexif().get(EXIF_ORIENTATION, 1)
    except (Pillow.DecompressionBombError, MemoryError) as error:
        raise UserError("is larger than medzoo reads", where, f"at most {limits().pixels} pixels") from error
    except UnidentifiedImageError as error:
        raise UserError("is no picture, or is damaged", where, "PNG, JPEG, TIFF or BMP is read") from error
    except UserError:
        raise
    except PermissionError as error:
        raise UserError("may not be read by this user", where, "its permissions say who may") from error
    except Exception as error:  # every decoder of Pillow has its own way of failing on damaged bytes
        raise UserError(f"is truncated or damaged: {error}", where) from error
    if orientation != 1:
        meta["exif_orientation"] = int(orientation)
    check_values(array, where)
    return Image(array, None, where, meta)


def from_pillow(picture: Any, *, source: str = "picture") -> Image:
    """A picture that Pillow opened or made, as `read_picture` reads a file of it. Raises UserError.

    What Pillow cut to 8 bits as it opened a file (colour of 16) is lost: such a file is read by its path.
    """
    _check_size(picture, source)
    try:
        array = _array(picture)
    except Exception as error:  # an opened file is only decoded here
        raise UserError(f"is truncated or damaged: {error}", source) from error
    check_values(array, source)
    return Image(array, None, source, {"format": picture.format or "", "bits": 8 * array.dtype.itemsize})


def _check_size(opened: Any, where: str) -> None:
    check_picture_size(opened.width, opened.height, where)
    if getattr(opened, "n_frames", 1) > 1 and opened.format != "MPO":
        raise UserError(f"holds {opened.n_frames} pages", where, "save the wanted page as a picture of its own")


def _array(opened: Any) -> Array:
    """(C, H, W) of what Pillow decodes without loss."""
    inverted = opened.format == "TIFF" and opened.tag_v2.get(TIFF_PHOTOMETRIC) == 0
    picture = ImageOps.exif_transpose(opened)
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
        return _over_black(np.asarray(picture.convert("RGBA")), grey=mode in ("1", "L", "LA", "La"))
    if mode in ("1", "L"):
        return np.asarray(picture.convert("L"))[None]
    colour = np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
    if mode == "P" and (colour[0] == colour[1]).all() and (colour[0] == colour[2]).all():
        return np.ascontiguousarray(colour[:1])
    return np.ascontiguousarray(colour)


def _over_black(rgba: Array, *, grey: bool) -> Array:
    """Colours (H, W, 4) of any unsigned depth, laid over black: what is transparent holds no tissue."""
    full = np.iinfo(rgba.dtype).max
    seen = rgba[..., :3].astype(float) * (rgba[..., 3:] / full)
    flat = np.floor(seen + 0.5).astype(rgba.dtype).transpose(2, 0, 1)
    return np.ascontiguousarray(flat[:1] if grey else flat)


def _deep_colour(opened: Any, path: Path) -> Array | None:
    """16-bit colour, which Pillow would cut to 8: TIFF through tifffile, PNG refused. None for all else."""
    if opened.format == "TIFF":
        bits = opened.tag_v2.get(TIFF_BITS, (8,))
        if len(bits) < 3 or max(bits) <= 8:
            return None
        from tifffile import imread

        deep: Array = imread(path)
        return np.ascontiguousarray(deep[..., :3].transpose(2, 0, 1))
    if opened.format == "PNG":
        with path.open("rb") as raw:
            head = raw.read(26)
        depth, kind = head[24], head[25]
        if depth == 16 and kind != 0:
            raise UserError("is a PNG of 16-bit colour", str(path), "save it as TIFF, which keeps all 16 bits")
    return None
