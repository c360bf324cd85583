"""Checks that every reader makes: finite values, volumes that are not empty, usable affines, sizes within limits."""

from __future__ import annotations

import math
import re
from itertools import product

import numpy as np

from medzoo.errors import UserError
from medzoo.io.limits import limits
from medzoo.types import Array, Image

# Cosine between two axes of a grid above which it counts as sheared; rounded headers stay far below.
SHEAR = 1e-3
GRID_TOLERANCE = 0.1
"""Distance between corners, in voxels, up to which two grids count as the same."""


def check_values(array: Array, where: str) -> None:
    """Refuse NaN, infinite and complex values."""
    if array.dtype.kind not in "biuf":
        raise UserError(
            f"stores {'complex numbers' if array.dtype.kind == 'c' else f'values of type {array.dtype}'}",
            where,
            "an image needs one real number per pixel and channel",
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = ~np.isfinite(array)
        first = tuple(int(i) for i in np.argwhere(bad)[0][1:])
        raise UserError(
            f"{int(bad.sum())} values are NaN or infinite, the first at {first}",
            where,
            "replace them, for example with numpy.nan_to_num",
        )


def check_volume(array: Array, where: str) -> None:
    """Refuse a volume in which every voxel is zero."""
    if not array.any():
        raise UserError("every voxel is zero", where, "the file holds no image")


def check_affine(affine: Array, where: str) -> None:
    """Refuse an affine (4, 4) that is not finite, singular, or sheared."""
    linear = np.asarray(affine, float)[:3, :3]
    lengths = np.linalg.norm(linear, axis=0)
    if not np.isfinite(linear).all() or not (lengths > 0).all():
        spacing = " x ".join(f"{s:g}" for s in lengths)
        raise UserError(f"the voxel spacing in its header is {spacing} mm", where, "repair the header")
    if not np.isfinite(affine).all():
        raise UserError("the origin in its header holds NaN or infinite values", where, "repair the header")
    cosines = (linear / lengths).T @ (linear / lengths)
    if abs(np.linalg.det(linear / lengths)) < 1e-6:
        raise UserError("the affine in its header is singular", where, "repair the header")
    if np.abs(cosines - np.eye(3)).max() > SHEAR:
        raise UserError("the affine in its header is sheared", where, "resample it to a rectangular grid first")


def check_extent(shape: tuple[int, ...], where: str, *, itemsize: int = 1) -> None:
    """Refuse, before anything is allocated, a shape with an empty axis or beyond the limits; `itemsize`: bytes a value.

    Raises UserError that says what the header claims and what may be read (`medzoo.io.limits`).
    """
    size = " x ".join(str(n) for n in shape)
    if not shape or min(shape) <= 0:
        raise UserError(f"its header claims an empty array ({size})", where)
    voxels = math.prod(shape)
    most = limits()
    if voxels > most.voxels:
        raise UserError(
            f"its header claims {size} voxels, more than medzoo reads", where, f"at most {most.voxels} are read here"
        )
    if voxels * itemsize > most.decoded_bytes:
        raise UserError(
            f"its header claims {size} voxels of {itemsize} bytes, more than medzoo reads",
            where,
            f"at most {most.decoded_bytes} bytes are read here",
        )


def check_picture_size(width: int, height: int, where: str, *, itemsize: int = 1) -> None:
    """`check_extent` for a picture; `itemsize`: bytes a pixel, all channels."""
    most = limits()
    if width <= 0 or height <= 0:
        raise UserError(f"its header claims an empty picture ({width} x {height})", where)
    if width * height > most.pixels or width * height * itemsize > most.decoded_bytes:
        raise UserError(
            f"its header claims {width} x {height} pixels, more than medzoo reads",
            where,
            f"at most {min(most.pixels, most.decoded_bytes // itemsize)} are read here",
        )


def corner_distance(image: Image, other: Image) -> float:
    """Largest distance in millimetres between corresponding corners of two volumes of one shape."""
    assert image.affine is not None
    assert other.affine is not None
    corners = np.array([[*corner, 1] for corner in product(*((0, n - 1) for n in image.shape))], float).T
    return float(np.linalg.norm((image.affine - other.affine)[:3] @ corners, axis=0).max())


def squeeze_volume(array: Array, where: str) -> Array:
    """(I, J, K) from (I, J), (I, J, K) or with trailing axes of length one; refuses real 4D data."""
    shape = array.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) > 3:
        size = " x ".join(str(n) for n in shape)
        raise UserError(
            f"is a {len(shape)}D volume ({size})",
            where,
            "medzoo reads one 3D volume: save the one you need as its own file",
        )
    if len(shape) < 2:
        raise UserError(f"holds a single line of {shape[0]} values, not an image", where)
    return array.reshape(shape if len(shape) == 3 else (*shape, 1), order="F")


def volume_number(text: str, count: int, where: str) -> int:
    """The number of one of `count` volumes, from 0, behind a file's name. Raises UserError if it is not there."""
    held = f"it holds {count} volumes, 0 to {count - 1}" if count > 1 else "it holds one, 0"
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise UserError(f"{text!r} is not a volume number", where, held)
    if not 0 <= int(text) < count:
        raise UserError(f"has no volume {int(text)}", where, held)
    return int(text)


def volume_needed(image: Image, message: str, hint: str | None = None) -> UserError:
    """The error for a picture where a volume is required; for a single DICOM slice it names the way out."""
    if image.meta.get("single_slice"):
        return UserError(
            "is a single slice, not a volume", image.source, "give the folder with all slices of its series"
        )
    return UserError(message, image.source, hint)
