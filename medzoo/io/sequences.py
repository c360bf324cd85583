"""Several sequences of one scan (T1, FLAIR, ...) as the channels of one Image, in the order in which they are given."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.errors import OffGridError, UserError
from medzoo.io.check import GRID_TOLERANCE, check_extent, corner_distance
from medzoo.io.formats import format_of
from medzoo.io.read import read_image
from medzoo.types import Image


def sequence_files(source: str) -> list[str]:
    """Split "t1.nii.gz,flair.nii.gz" at its commas; an existing file with a comma in its name is not split.

    Raises UserError for a comma that has no name on one side.
    """
    if "," not in source or Path(source).exists():
        return [source]
    files = source.split(",")
    if not all(files):
        raise UserError("has a comma without a file on one side", source, "name a file on either side of each comma")
    return files


def read_sequences(source: Any, count: int) -> Image:
    """Read a scan of `count` sequences as a volume (count, I, J, K), or a picture as `read_image` does.

    `source`: what `read_image` takes; the sequences' files joined by commas; or a NIfTI file or nibabel image with
    four axes, the sequences along the last. Raises UserError, and OffGridError for sequences on different grids.
    """
    if isinstance(source, str | os.PathLike):
        text = os.fspath(source)
        files = sequence_files(text)
        if len(files) > 1:
            if len(files) != count:
                raise UserError(f"names {len(files)} sequences, but the model takes {count}", text)
            return read_channels(files).replace(source=text)
        if format_of(text) == "nifti" and Path(text).is_file() and len(stored := _opened(text).shape) == 4:
            return read_image(source) if stored[3] == 1 else read_stacked(text, count)
    elif len(getattr(source, "shape", ())) == 4 and hasattr(source, "slicer"):
        return _stacked(source, count, source.get_filename() or "nibabel image")
    return read_image(source)


def read_phases(source: Any) -> Image:
    """Read one volume (1, I, J, K), or several phases of it as channels (T, I, J, K).

    Several are files joined by commas, or a NIfTI file or nibabel image with four axes, time last. Raises UserError,
    and OffGridError for phases on different grids.
    """
    if isinstance(source, str | os.PathLike):
        text = os.fspath(source)
        files = sequence_files(text)
        if len(files) > 1:
            return read_channels(files).replace(source=text)
        if format_of(text) == "nifti" and Path(text).is_file() and len(shape := _opened(text).shape) == 4:
            return read_image(source) if shape[3] == 1 else read_stacked(text, shape[3])
    elif len(shape := getattr(source, "shape", ())) == 4 and hasattr(source, "slicer"):
        return _stacked(source, shape[3], source.get_filename() or "nibabel image")
    return read_image(source)


def read_channels(paths: Sequence[str | Path]) -> Image:
    """Read several volumes on one grid as the channels (C, I, J, K) of an image; its header is the first one's.

    Raises OffGridError that names the file whose grid is another.
    """
    first, *others = (read_image(path, kind="volume") for path in paths)
    assert first.affine is not None
    for other in others:
        assert other.affine is not None
        if other.shape != first.shape or corner_distance(other, first) > GRID_TOLERANCE * min(first.spacing):
            raise OffGridError(
                f"is on a different grid than {first.source}", other.source, "register it and resample it to that grid"
            )
    return first.replace(array=np.concatenate([image.array for image in (first, *others)])) if others else first


def read_stacked(path: str | Path, count: int) -> Image:
    """Read a NIfTI file with `count` sequences along its fourth axis as (count, I, J, K). Raises UserError."""
    return _stacked(_opened(path), count, str(path))


def _opened(path: str | Path) -> Any:
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        stored: Any = nibabel.load(path)
        shape, itemsize = tuple(int(n) for n in stored.shape), stored.get_data_dtype().itemsize
    except (OSError, EOFError, ValueError, ImageFileError) as error:
        raise UserError(f"cannot be read: {error}", str(path)) from error
    check_extent(shape, str(path), itemsize=itemsize)  # nibabel sets aside what the header claims
    return stored


def _stacked(stored: Any, count: int, where: str) -> Image:
    if len(stored.shape) != 4 or stored.shape[3] != count:
        size = " x ".join(map(str, stored.shape))
        raise UserError(f"has the shape {size}; expected {count} sequences along a fourth axis", where)
    channels = [read_image(stored.slicer[..., c], kind="volume") for c in range(count)]
    return channels[0].replace(array=np.concatenate([channel.array for channel in channels]), source=where)
