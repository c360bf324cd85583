"""Write label arrays on the grid of their image: NIfTI for volumes, PNG for pictures."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from medzoo.errors import UserError
from medzoo.io.atomic import atomic_write
from medzoo.io.formats import suffix
from medzoo.io.nifti_geometry import NiftiFields
from medzoo.types import Array, Image


def write_mask(path: str | Path, mask: Array, like: Image) -> Path:
    """Write labels (*spatial), of several phases (*spatial, T), on the grid of `like`; returns the path.

    Labels are 0 to 255, or to 65,535 where their type is uint16. A volume becomes NIfTI (.nii.gz or .nii) of uint8, of
    uint16 where a label is above 255: of a NIfTI source with its pixdim, qform, sform, codes and units as they are
    stored; a picture a grey PNG of 8 or 16 bits whose pixel value is the label. Raises UserError naming the path.
    """
    wide = mask.dtype == np.uint16 and int(mask.max(initial=0)) > np.iinfo(np.uint8).max
    labels = np.ascontiguousarray(mask, np.uint16 if wide else np.uint8)
    if labels.shape[: len(like.shape)] != like.shape or labels.ndim > 4:
        raise ValueError(f"a mask of {labels.shape} for an image of {like.shape}")
    if like.affine is None:
        if suffix(path) != ".png":
            raise UserError("the mask of a picture is written as .png", str(path))
        return atomic_write(path, lambda handle: _write_png(handle, labels))
    if suffix(path) not in (".nii.gz", ".nii"):
        raise UserError("the mask of a volume is written as .nii.gz or .nii", str(path))
    packed = suffix(path) == ".nii.gz"
    return atomic_write(path, lambda handle: _write_nifti(handle, labels, like, packed=packed))


def nifti_header(shape: tuple[int, ...], dtype: Any, like: Image) -> Any:
    """A nibabel NIfTI header for an array (I, J, K) that lies where `like` lies.

    The geometry of a NIfTI source is repeated field by field as it is stored; else sform and qform say the affine.
    """
    import nibabel  # noqa: F401  (the whole first: threads import at once)
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    fields: NiftiFields | None = like.meta.get("nifti")
    large = max(shape) > np.iinfo(np.int16).max
    header = Nifti2Header() if large or (fields is not None and fields.version == 2) else Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(dtype)
    header["vox_offset"] = int(header["sizeof_hdr"]) + 4
    header["scl_slope"], header["scl_inter"] = 1, 0
    if fields is not None:
        fields.write_to(header)
        return header
    assert like.affine is not None
    header.set_xyzt_units("mm")
    header.set_zooms((*like.spacing, *(1.0,) * (len(shape) - 3)))
    sform, qform = int(like.meta.get("sform_code", 1)), int(like.meta.get("qform_code", 1))
    if sform:
        header.set_sform(like.affine, sform)
    if qform:
        header.set_qform(like.affine, qform)
        header["pixdim"][1:4] = like.spacing
    return header


def _write_nifti(handle: BinaryIO, labels: Array, like: Image, *, packed: bool) -> None:
    # By hand: nibabel would write its own reading of the matrices in place of what the source stores.
    head = nifti_header(labels.shape, labels.dtype, like).binaryblock + bytes(4)
    if not packed:
        handle.write(head)
        handle.write(labels.tobytes(order="F"))
        return
    # No name and no time in the gzip header: the same mask is the same bytes.
    with gzip.GzipFile(filename="", fileobj=handle, mode="wb", compresslevel=6, mtime=0) as stream:
        stream.write(head)
        stream.write(labels.tobytes(order="F"))


def _write_png(handle: BinaryIO, labels: Array) -> None:
    from PIL import Image as Pillow

    Pillow.fromarray(labels).save(handle, format="PNG")
