"""Convert arrays (NumPy, PyTorch, xarray, pandas, memoryview) to an Image."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from medzoo.errors import UserError
from medzoo.io.channels import over_black
from medzoo.io.check import check_extent, check_values, check_volume, squeeze_volume
from medzoo.types import Array, Image

Kind = Literal["picture", "volume"]
ARRAY_PLACE = "an array has no header: 1 mm voxels, axes to the right, anterior, superior"
CHANNELS = (1, 3, 4)
"""Lengths of an axis of channels: grey, red-green-blue, and these with opacity."""
_SHAPES = "a picture is (H, W), (H, W, C) or (C, H, W) with C 1, 3 or 4"


def is_array(source: Any) -> bool:
    """True if `to_array` takes `source`: an array, an object with `__array__`, a memoryview of several axes."""
    if isinstance(source, memoryview):
        return source.ndim > 1
    return isinstance(source, np.ndarray) or any(hasattr(source, name) for name in ("__array__", "__array_interface__"))


def to_array(source: Any, *, where: str = "array") -> Array:
    """Convert `source` to a NumPy array of native byte order. Raises UserError for masked values or a device array."""
    if isinstance(source, np.ma.MaskedArray):
        if count := int(np.ma.getmaskarray(source).sum()):
            raise UserError(f"{count} values are masked", where, "fill them first, for example with array.filled(0)")
        return to_array(source.data, where=where)
    try:
        array = np.asarray(source)
    except Exception as error:  # each library has its own: a tensor on a GPU, or one that learns
        name = f"{type(source).__module__.partition('.')[0]} {type(source).__name__}"
        words = " ".join(str(error).split())[:200]
        way = "of a torch tensor give .detach().cpu().float()"
        raise UserError(f"{name} cannot be converted to an array: {words}", where, way) from error
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def from_array(
    array: Any, *, kind: Kind | None = None, empty: bool = False, source: str = "array", bgr: bool = False
) -> Image:
    """Convert an array to an Image. Raises UserError.

    A picture is (H, W), (H, W, C) or (C, H, W), C 1, 3 (red, green, blue) or 4 (and opacity, laid over black as in a
    file); a batch of one, (1, H, W, C) or (1, C, H, W), is that picture. A shape that could be read both ways, such as
    (3, H, 3), is refused. `bgr`: the colours are blue, green, red, as OpenCV has them.
    A volume is (I, J, K), whose place `meta["assumed"]` then tells. Without a `kind` (H, W) is a picture, a uint8 array
    (H, W, 3 or 4) a colour picture, any other array a volume.
    """
    array = to_array(array, where=source)
    meta: dict[str, Any] = {"format": "array"}
    if array.dtype == bool:
        array, meta["bits"] = array.astype(np.uint8), 1
    if not array.ndim:
        raise UserError("holds a single value, not an image", source)
    check_extent(array.shape, source)
    check_values(array[None], source)
    if kind is None:
        coloured = array.ndim == 3 and array.shape[2] in (3, 4) and array.dtype == np.uint8
        kind = "picture" if array.ndim == 2 or coloured else "volume"
    if kind == "picture":
        return Image(_picture(array, source, bgr=bgr), None, source, meta)
    if bgr:
        raise UserError("is a volume, but bgr applies to colour pictures", source, "leave out bgr")
    volume = squeeze_volume(array, source)[None]
    if not empty:
        check_volume(volume, source)
    return Image(volume, np.eye(4), source, meta | {"assumed": ARRAY_PLACE})


def _picture(array: Array, where: str, *, bgr: bool) -> Array:
    """(C, H, W), C 1 or 3."""
    shape = array.shape
    size = " x ".join(map(str, shape))
    if array.ndim == 4 and shape[0] == 1:
        array = array[0]
    if array.ndim == 2:
        return array[None]
    if array.ndim == 4:
        way = "give its pictures one by one: predict(list(array))"
        raise UserError(f"of {size} is a batch of {shape[0]}", where, way)
    if array.ndim != 3:
        raise UserError(f"of {size} is not a picture", where, _SHAPES)
    first, last = array.shape[0] in CHANNELS, array.shape[2] in CHANNELS
    if first and last:
        raise UserError(
            f"of {size} could hold its colours along the first axis or the last",
            where,
            "give a Pillow picture: Image.fromarray(array) of (H, W, C), Image.fromarray(array.transpose(1, 2, 0)) of "
            "(C, H, W); of a grey one (H, W)",
        )
    if not first and not last:
        raise UserError(f"of {size} is not a picture", where, _SHAPES)
    rows = array.transpose(1, 2, 0) if first else array
    if bgr and rows.shape[2] > 1:
        rows = rows[..., [2, 1, 0, 3][: rows.shape[2]]]
    if rows.shape[2] == 4:
        return over_black(rows)
    return np.ascontiguousarray(rows.transpose(2, 0, 1))
