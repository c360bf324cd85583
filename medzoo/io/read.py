"""Read an Image from a path, an open file, a DICOM folder, an array, a nibabel image or a pydicom dataset."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.errors import OffGridError, UserError
from medzoo.io.array import Kind, from_array, is_array
from medzoo.io.check import GRID_TOLERANCE, corner_distance, volume_needed
from medzoo.io.file_object import as_path, is_file_object, name_of
from medzoo.io.formats import SUFFIXES, foreign_archive, format_of
from medzoo.io.regular import open_regular
from medzoo.types import Image


def read_image(source: Any, *, kind: Kind | None = None) -> Image:
    """Read `source`: a path, bytes of a file or an open binary file, a DICOM folder, an array (NumPy's, or an object
    with `__array__`), a picture of Pillow, nibabel image or pydicom dataset.

    Pictures come as (C, H, W), C 1 or 3 (red, green, blue), without an affine; volumes as (1, I, J, K) with theirs.
    `kind` says which of the two is wanted, and settles what arrays and single DICOM files leave open; without it
    - an array (H, W) is a grey picture, a uint8 array (H, W, 3 or 4) a colour picture, any other array
      (I, J, K) a volume, whose place `meta["assumed"]` then tells (see `from_array` for all shapes);
    - a single DICOM file is a picture, unless its frames say where they lie;
    - FOLDER#NAME (or ARCHIVE.zip#NAME) is the DICOM series of that description or number in it;
    - FILE.nii.gz#N (or .mgz, .nrrd, .mha) is volume N, counted from 0, of a file with four axes;
    - FILE.dcm#N is frame N, counted from 0, of a DICOM loop.
    Raises UserError in one line that names the file for whatever cannot be answered.

    >>> image = read_image("phantom.png")
    >>> image.array.shape, image.affine
    ((1, 360, 480), None)
    """
    return _wanted(_read(source, kind, empty=False), kind)


def read_labels(source: Any, *, like: Image | None = None) -> Image:
    """Read a label map (1, *spatial) of whole numbers as `read_image` does; it may be all zero.

    `like`: the image it belongs to; another shape, or an affine that differs by more than a tenth of a
    voxel, raises OffGridError.
    """
    image = _read(source, None if like is None else "picture" if like.affine is None else "volume", empty=True)
    where = image.source
    array = image.array[:1]
    if image.array.shape[0] > 1 and not (image.array == array).all():
        raise UserError("is a colour picture, not a label map", where)
    if array.dtype.kind == "f":
        if not (array == np.rint(array)).all():
            raise UserError("is not a label map (its values are not whole numbers)", where)
        array = array.astype(np.int32)
    if like is not None:
        if image.shape != like.shape:
            have, need = (" x ".join(map(str, s)) for s in (image.shape, like.shape))
            raise OffGridError(f"has {have} pixels, its image {like.source or ''} {need}", where)
        if image.affine is not None and like.affine is not None and "assumed" not in image.meta:
            apart = corner_distance(image, like)
            if apart > GRID_TOLERANCE * min(like.spacing):
                raise OffGridError(f"is {apart:.2f} mm off the grid of its image {like.source or ''}", where)
    return image.replace(array=array)


def _read(source: Any, kind: Kind | None, *, empty: bool) -> Image:
    if isinstance(source, Image):
        return source
    if isinstance(source, (str, os.PathLike)):
        # As typed: this is the name under which errors and answers come back.
        return _read_path(Path(source), kind, empty=empty).replace(source=os.fspath(source))
    if isinstance(source, np.ndarray):
        return from_array(source, kind=kind, empty=empty)
    if is_file_object(source):
        with as_path(source) as path:
            image = _read_path(path, kind, empty=empty)
            # The file behind an array that is mapped from it is about to be removed.
            array = np.array(image.array) if isinstance(image.array, np.memmap) else image.array
        return image.replace(array=array, source=name_of(source))
    # An object of nibabel, pydicom or Pillow can only exist where the package is loaded already.
    if "nibabel" in sys.modules and isinstance(source, sys.modules["nibabel"].spatialimages.SpatialImage):
        from medzoo.io.nifti import from_nibabel

        return from_nibabel(source, empty=empty)
    if "pydicom" in sys.modules and isinstance(source, sys.modules["pydicom"].Dataset):
        from medzoo.io.dicom import from_dataset

        where = str(getattr(source, "filename", None) or "DICOM dataset")
        return from_dataset(source, where=where, volume=kind == "volume", labels=empty)
    if "PIL.Image" in sys.modules and isinstance(source, sys.modules["PIL.Image"].Image):
        from medzoo.io.picture import from_pillow

        return from_pillow(source)
    if is_array(source):
        return from_array(source, kind=kind, empty=empty)
    raise UserError(
        f"an image cannot be read from {type(source).__name__}",
        hint="give a path, an array, an open binary file, a picture of Pillow, a nibabel image, a pydicom dataset, or "
        "a DICOM folder",
    )


def _read_path(path: Path, kind: Kind | None, *, empty: bool) -> Image:
    series: str | None = None
    if "#" in str(path) and not path.exists():
        place, _, called = str(path).rpartition("#")
        if Path(place).exists():
            path, series = Path(place), called
    where = str(path)
    try:
        if path.is_dir():
            from medzoo.io.dicom import read_series

            return read_series(path, series=series, labels=empty)
        if not path.exists():
            raise UserError("no such file", where)
        if not path.is_file():
            raise UserError("is not a regular file", where)
        if path.stat().st_size == 0:
            raise UserError("is empty (0 bytes)", where)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where) from error
    from medzoo.io import nifti

    try:
        head = nifti.read_head(path)
        name = format_of(path, head)
    except UserError:
        head, name = b"", format_of(path)
        if name is None:
            raise
    if (foreign := foreign_archive(head)) is not None:
        raise UserError(f"is {foreign}", where, "unpack it first, or give DICOM files in a zip archive")
    if name not in ("nifti", "mgh", None) and _is_gzip(path):
        raise UserError(f"is a gzip file that holds {name}", where, "unpack it first: gunzip")
    if name == "nifti":
        return nifti.read_nifti(path, volume=series, empty=empty)
    if name == "mgh":
        return nifti.read_mgh(path, volume=series, empty=empty)
    if series is not None and name == "picture":
        raise UserError(
            f"has no series or volume called {series!r}",
            where,
            "#NAME chooses a series of a DICOM folder or archive, #N a volume of a 4D file, or a DICOM frame",
        )
    if name == "nrrd":
        from medzoo.io.nrrd import read_nrrd

        return read_nrrd(path, volume=series, empty=empty)
    if name == "metaimage":
        from medzoo.io.metaimage import read_metaimage

        return read_metaimage(path, volume=series, empty=empty)
    if name == "archive":
        from medzoo.io.dicom import read_archive

        return read_archive(path, series=series, labels=empty)
    if name == "dicom":
        from medzoo.io.dicom import read_dicom

        return read_dicom(path, volume=kind == "volume", labels=empty, frame=series)
    if name == "picture":
        from medzoo.io.picture import read_picture

        return read_picture(path)
    raise UserError("is not an image that medzoo reads", where, f"it reads DICOM and {' '.join(SUFFIXES)}")


def _is_gzip(path: Path) -> bool:
    with open_regular(path) as handle:
        return handle.read(2) == b"\x1f\x8b"


def _wanted(image: Image, kind: Kind | None) -> Image:
    have = "picture" if image.affine is None else "volume"
    if kind == "volume" and have == "picture":
        raise volume_needed(image, "is a picture, but a volume is needed")
    if kind is not None and have != kind:
        raise UserError(f"is a {have}, but a {kind} is needed", image.source)
    return image
