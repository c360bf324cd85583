"""Label arrays written on their image's own grid: NIfTI for volumes, PNG for pictures."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from medzoo.errors import UserError
from medzoo.io.atomic import atomic_write
from medzoo.io.formats import suffix
from medzoo.types import Array, Image


def write_mask(path: str | Path, mask: Array, like: Image) -> Path:
    """Write labels (*spatial), 0 to 255, on the grid of `like`; returns the path.

    A volume becomes uint8 NIfTI (.nii.gz or .nii) with the affine and the sform and qform codes of its
    source; a picture an 8-bit grey PNG whose pixel value is the label. Raises UserError naming the path.
    """
    labels = np.ascontiguousarray(mask, np.uint8)
    if labels.shape != like.shape:
        raise ValueError(f"a mask of {labels.shape} for an image of {like.shape}")
    if like.affine is None:
        if suffix(path) != ".png":
            raise UserError("the mask of a picture is written as .png", str(path))
        return atomic_write(path, lambda handle: _write_png(handle, labels))
    if suffix(path) not in (".nii.gz", ".nii"):
        raise UserError("the mask of a volume is written as .nii.gz or .nii", str(path))
    packed = suffix(path) == ".nii.gz"
    return atomic_write(path, lambda handle: _write_nifti(handle, labels, like, packed=packed))


def nifti_image(array: Array, like: Image) -> Any:
    """A nibabel NIfTI image of `array` (I, J, K) that lies where `like` lies, codes as in its source."""
    import nibabel  # noqa: F401  (the whole first: threads import at once)
    from nibabel.nifti1 import Nifti1Header, Nifti1Image
    from nibabel.nifti2 import Nifti2Header, Nifti2Image

    large = max(array.shape) > np.iinfo(np.int16).max
    header = Nifti2Header() if large else Nifti1Header()
    header.set_data_shape(array.shape)
    header.set_data_dtype(array.dtype)
    header.set_xyzt_units("mm")
    header.set_zooms(like.spacing)
    meta = like.meta
    sform, qform = int(meta.get("sform_code", 1)), int(meta.get("qform_code", 1))
    if sform:
        header.set_sform(like.affine, sform)
    if qform:
        header.set_qform(meta.get("qform", like.affine), qform)
        header["pixdim"][1:4] = like.spacing
    return (Nifti2Image if large else Nifti1Image)(array, None, header)


def _write_nifti(handle: BinaryIO, labels: Array, like: Image, *, packed: bool) -> None:
    image = nifti_image(labels, like)
    if not packed:
        image.to_stream(handle)
        return
    # No name and no time in the gzip header: the same mask is the same bytes.
    with gzip.GzipFile(filename="", fileobj=handle, mode="wb", compresslevel=6, mtime=0) as stream:
        image.to_stream(stream)


def _write_png(handle: BinaryIO, labels: Array) -> None:
    from PIL import Image as Pillow

    Pillow.fromarray(labels).save(handle, format="PNG")
