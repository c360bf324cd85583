"""NIfTI-1, NIfTI-2 and MGH files, and nibabel images, as an Image.

nibabel interprets the headers; the voxels are read here, because what a header claims must be held against
the file before memory is set aside for it.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.errors import UserError
from medzoo.io.check import check_affine, check_extent, check_values, check_volume, squeeze_volume
from medzoo.io.mapping import is_wanted
from medzoo.types import Array, Image

# Deflate cannot pack more than this many bytes into one.
GZIP_RATIO = 1032
CHUNK = 1 << 22
# NIfTI-1 header, xyzt_units: 1 is metre, 2 millimetre, 3 micrometre; anything else is taken as millimetre.
UNITS_IN_MM = {1: 1000.0, 3: 0.001}
UNORIENTED = (
    "the header gives no orientation (sform and qform codes are 0): "
    "taken as right to left, posterior to anterior, inferior to superior"
)


def read_nifti(path: Path, *, empty: bool = False) -> Image:
    """A NIfTI file as an Image (1, I, J, K): file dtype, or floating point where it stores a scale.

    The sform gives the affine, else the qform; with neither `meta["assumed"]` says so. `empty` lets a volume
    of zeros pass (a label map may be one). Raises UserError that names the file.
    """
    header = _nifti_header(read_head(path), str(path))
    offset = max(int(header["vox_offset"]), int(header["sizeof_hdr"]) + 4)
    array = _voxels(path, header, offset)
    affine, meta = _nifti_geometry(header, str(path))
    try:
        slope, inter = header.get_slope_inter()
    except Exception as error:
        raise UserError("its header gives no valid scale of the values", str(path)) from error
    return _image(_scaled(array, slope, inter), affine, str(path), {"format": "nifti", **meta}, empty)


def read_mgh(path: Path, *, empty: bool = False) -> Image:
    """A FreeSurfer MGH or MGZ file as an Image (1, I, J, K). Raises UserError that names the file."""
    import nibabel  # noqa: F401  (the whole first: threads import at once)
    from nibabel.freesurfer.mghformat import MGHHeader

    head = read_head(path)
    if len(head) < 284 or struct.unpack(">i", head[:4])[0] != 1:
        raise UserError("is no MGH file", str(path))
    header = MGHHeader(head[:284], check=False)
    array = _voxels(path, header, 284)
    meta: dict[str, Any] = {"format": "mgh"}
    if not int(header["goodRASFlag"]):
        meta["assumed"] = "the header gives no orientation: taken as FreeSurfer's coronal default"
    return _image(array, header.get_affine(), str(path), meta, empty)


def from_nibabel(image: Any, *, empty: bool = False) -> Image:
    """Any spatial nibabel image as an Image, under the rules for files. Raises UserError."""
    import nibabel  # noqa: F401  (the whole first: threads import at once)
    from nibabel.nifti1 import Nifti1Header

    where = image.get_filename() or "nibabel image"
    check_extent(tuple(int(n) for n in image.shape), where)
    data = image.dataobj
    try:
        scaled = hasattr(data, "get_unscaled")
        array = _scaled(data.get_unscaled(), data.slope, data.inter) if scaled else np.asarray(data)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise UserError(f"cannot be read: {error}", where) from error
    affine, meta = image.affine, {"format": "nibabel"}
    if isinstance(image.header, Nifti1Header):
        _, meta = _nifti_geometry(image.header, where)
        unit = _unit_mm(image.header)
        affine = np.diag([unit, unit, unit, 1.0]) @ affine
    elif affine is None:
        affine, meta["assumed"] = (
            np.eye(4),
            "the image has no affine: 1 mm voxels, axes right, anterior, superior",
        )
    return _image(array, affine, where, meta, empty)


def read_head(path: Path, size: int = 1024) -> bytes:
    """The first `size` bytes of a file, unpacked if it is gzip. Raises UserError."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not packed:
                return raw.read(size)
            with gzip.GzipFile(fileobj=raw) as unpacked:
                return unpacked.read(size)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError("is a damaged or truncated gzip file", str(path)) from error
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", str(path)) from error


def _nifti_header(head: bytes, where: str) -> Any:
    import nibabel  # noqa: F401  (the whole first: threads import at once)
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    sizes = struct.unpack("<i", head[:4]) + struct.unpack(">i", head[:4]) if len(head) >= 4 else ()
    if 348 in sizes and len(head) >= 348:
        header = Nifti1Header(head[:348], check=False)
        magic = bytes(header["magic"])
    elif 540 in sizes and len(head) >= 540:
        header = Nifti2Header(head[:540], check=False)
        magic = bytes(header["magic"])
    else:
        raise UserError("is no NIfTI file, or its header is cut off", where)
    if not magic.startswith(b"n+"):
        raise UserError(
            "is an ANALYZE or two-file NIfTI header",
            where,
            "convert it to one .nii.gz file, e.g. with nibabel",
        )
    return header


def _voxels(path: Path, header: Any, offset: int) -> Array:
    """The stored values (I, J, K), native byte order, unscaled; the claim is held against the file first."""
    where = str(path)
    try:
        dtype = np.dtype(header.get_data_dtype())
        shape = tuple(int(n) for n in header.get_data_shape())
    except Exception as error:  # nibabel raises a kind of its own for every field
        raise UserError(f"its header is damaged: {error}", where) from error
    if dtype.fields is not None:
        raise UserError("stores colours", where, "a volume holds one value a voxel")
    check_extent(shape, where, itemsize=dtype.itemsize)
    count = math.prod(shape)
    size = offset + count * dtype.itemsize
    if is_wanted() and not _checked_packed(path, size, shape):
        array: Array = np.memmap(path, dtype, "r", offset, shape, order="F")
    else:
        array = np.frombuffer(_bytes(path, size, shape), dtype, count, offset).reshape(shape, order="F")
    return squeeze_volume(array.astype(dtype.newbyteorder("="), copy=False), where)


def _claim(shape: tuple[int, ...], size: int) -> str:
    return f"its header claims {' x '.join(map(str, shape))} voxels ({size} bytes with the header)"


def _checked_packed(path: Path, size: int, shape: tuple[int, ...]) -> bool:
    """Whether the file is gzip. Raises UserError if it cannot hold what its header claims."""
    length = path.stat().st_size
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    if size > length * (GZIP_RATIO if packed else 1):
        holds = f"the file has {length} bytes" + (" packed" if packed else "")
        raise UserError(f"is truncated or damaged: {_claim(shape, size)}, {holds}", str(path))
    return packed


def _bytes(path: Path, size: int, shape: tuple[int, ...]) -> bytes | bytearray:
    """The first `size` bytes of the unpacked file; never holds more memory than the file can fill."""
    packed = _checked_packed(path, size, shape)
    claim = _claim(shape, size)
    with path.open("rb") as raw:
        if not packed:
            return raw.read(size)
        data = bytearray()
        try:
            with gzip.GzipFile(fileobj=raw) as unpacked:
                while len(data) < size and (piece := unpacked.read(min(CHUNK, size - len(data)))):
                    data += piece
                unpacked.read(CHUNK)  # past a footer to the end, where the checksum is compared
        except (EOFError, OSError, zlib.error) as error:
            raise UserError(
                f"is truncated or damaged: {claim}, {len(data)} bytes could be unpacked", str(path)
            ) from error
    if len(data) < size:
        raise UserError(f"is truncated: {claim}, it holds {len(data)}", str(path))
    return data


def _scaled(array: Array, slope: float | None, inter: float | None) -> Array:
    """Stored values times slope plus intercept; the stored dtype stays where there is no scale."""
    if slope is None or (slope == 1 and not inter):
        return array
    dtype = np.result_type(array.dtype, np.float32)
    scaled: Array = array.astype(dtype) * dtype.type(slope) + dtype.type(inter or 0)
    return scaled


def _unit_mm(header: Any) -> float:
    return UNITS_IN_MM.get(int(header["xyzt_units"]) & 7, 1.0)


def _nifti_geometry(header: Any, where: str) -> tuple[Array, dict[str, Any]]:
    """The affine in millimetres, and what a mask on the same grid must repeat: codes, and the qform."""
    known = min(int(header["dim"][0]), 3)
    if "pixdim" in header and not (np.asarray(header["pixdim"][1 : known + 1], float) > 0).all():
        spacing = " x ".join(f"{float(s):g}" for s in header["pixdim"][1 : known + 1])
        raise UserError(f"the voxel spacing in its header is {spacing} mm", where, "repair the header")
    header = header.copy()
    header["pixdim"][known + 1 : 4] = 1.0
    if abs(float(header["pixdim"][0])) != 1:
        header["pixdim"][0] = 1.0  # the standard: 0 counts as 1
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    unit = _unit_mm(header)
    scale = np.diag([unit, unit, unit, 1.0])
    meta: dict[str, Any] = {"format": "nifti", "sform_code": sform, "qform_code": qform}
    try:
        if qform:
            meta["qform"] = scale @ header.get_qform()
        best = header.get_sform() if sform else header.get_qform() if qform else header.get_base_affine()
    except Exception as error:  # nibabel: HeaderDataError, ValueError or LinAlgError by field
        raise UserError(f"its header is damaged: {error}", where) from error
    if not sform and not qform:
        meta["assumed"] = UNORIENTED
    return scale @ np.asarray(best, float), meta


def _image(array: Array, affine: Array, where: str, meta: dict[str, Any], empty: bool) -> Image:
    array = squeeze_volume(array, where)[None]
    check_affine(affine, where)
    check_values(array, where)
    if not empty:
        check_volume(array, where)
    return Image(array, np.asarray(affine, float), where, meta)
