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
from medzoo.io.check import check_affine, check_extent, check_values, check_volume, squeeze_volume, volume_number
from medzoo.io.formats import suffix
from medzoo.io.limits import limits
from medzoo.io.mapping import is_wanted
from medzoo.io.nifti_geometry import read_geometry, unit_mm, unusable
from medzoo.types import Array, Image

# Deflate cannot pack more than this many bytes into one.
GZIP_RATIO = 1032
CHUNK = 1 << 22
_TYPES = "save it with whole numbers or floating point of 32 or 64 bits"
CORONAL = (
    "the header gives no orientation (goodRASFlag is 0): taken as FreeSurfer's default, 1 mm coronal slices, "
    "right to left, superior to inferior, posterior to anterior, about the origin"
)


def read_nifti(path: Path, *, volume: str | None = None, empty: bool = False) -> Image:
    """A NIfTI file as an Image (1, I, J, K): file dtype, or floating point where it stores a scale.

    `path`: one file, or either file of a pair (.hdr and .img). `volume`: the number of one volume of a 4D file, counted
    from 0. The sform gives the affine, else the qform; `meta` says what was assumed and what disagrees, see
    `read_geometry`. `empty` lets a volume of zeros pass (a label map may be one). Raises UserError that names the file.
    """
    where = str(path)
    header_path = _header_of(path)
    header = _nifti_header(read_head(header_path), str(header_path))
    data_path, least = path, int(header["sizeof_hdr"]) + 4
    if not bytes(header["magic"]).startswith(b"n+"):
        data_path, least = _data_of(header_path), 0
    start = float(header["vox_offset"])
    if not 0 <= start < 2**62:
        raise UserError(f"its header is damaged: the voxels start at byte {start:g}", where)
    array = _voxels(data_path, header, max(int(start), least), where=where, volume=volume)
    affine, meta = read_geometry(header, array.shape, where)
    try:
        # nibabel takes an infinite slope for none.
        if np.isinf(float(header["scl_slope"])):
            raise ValueError
        slope, inter = header.get_slope_inter()
    except Exception as error:
        raise UserError("its header gives no valid scale of the values", where) from error
    return _image(_scaled(array, slope, inter), affine, where, meta, empty)


def read_mgh(path: Path, *, volume: str | None = None, empty: bool = False) -> Image:
    """A FreeSurfer MGH or MGZ file as an Image (1, I, J, K); `volume` as in `read_nifti`. Raises UserError that names
    the file."""
    import nibabel  # noqa: F401  (the whole first: threads import at once)
    from nibabel.freesurfer.mghformat import MGHHeader

    head = read_head(path)
    if len(head) < 284 or struct.unpack(">i", head[:4])[0] != 1:
        raise UserError("is not an MGH file", str(path))
    header = MGHHeader(head[:284], check=False)
    array = _voxels(path, header, 284, where=str(path), volume=volume)
    affine, facts = _mgh_place(head, header.get_affine())
    return _image(array, affine, str(path), {"format": "mgh", **facts}, empty)


def _mgh_place(head: bytes, affine: Array) -> tuple[Array, dict[str, Any]]:
    """The affine of an MGH file, and that it was assumed where goodRASFlag says that none is stored."""
    import nibabel  # noqa: F401
    from nibabel.freesurfer.mghformat import MGHHeader

    if struct.unpack(">h", head[28:30])[0] > 0:
        return affine, {}
    # FreeSurfer takes no flag above 0 for none, nibabel 0 alone.
    header = MGHHeader(head[:28] + bytes(2) + head[30:284], check=False)
    return header.get_affine(), {"assumed": CORONAL}


def from_nibabel(image: Any, *, empty: bool = False) -> Image:
    """Convert a spatial nibabel image to an Image, checked as a file is. Raises UserError."""
    import nibabel  # noqa: F401  (the whole first: threads import at once)
    from nibabel.freesurfer.mghformat import MGHHeader
    from nibabel.nifti1 import Nifti1Header

    where = image.get_filename() or "nibabel image"
    check_extent(tuple(int(n) for n in image.shape), where)
    _refuse_several(tuple(image.shape), where, "take one of them: image.slicer[..., 0]")
    data = image.dataobj
    try:
        scaled = hasattr(data, "get_unscaled")
        array = _scaled(data.get_unscaled(), data.slope, data.inter) if scaled else np.asarray(data)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise UserError(f"cannot be read: {error}", where) from error
    affine, meta = image.affine, {"format": "nibabel"}
    if isinstance(image.header, Nifti1Header):
        stored, meta = read_geometry(image.header, tuple(image.shape), where)
        unit = unit_mm(image.header)
        affine = stored if affine is None else np.diag([unit, unit, unit, 1.0]) @ affine
        if not np.allclose(affine, stored, rtol=1e-4, atol=1e-4 * unit):
            if unusable(affine):
                affine = stored  # nibabel took the matrix that cannot be used
            else:
                del meta["nifti"]  # the image was given another place than its header says
    elif affine is None:
        affine, meta["assumed"] = (
            np.eye(4),
            "the image has no affine: 1 mm voxels, axes right, anterior, superior",
        )
    elif isinstance(image.header, MGHHeader) and (path := image.get_filename()) and Path(path).is_file():
        # nibabel fills in the default without a trace in the image; the file tells.
        affine, facts = _mgh_place(read_head(Path(path)), affine)
        meta |= facts
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
        raise UserError("is not a NIfTI file, or its header is truncated", where)
    if not magic.startswith((b"n+", b"ni")):
        raise UserError(
            "is an ANALYZE header, which does not say left from right",
            where,
            "convert it to NIfTI with the tool that wrote it, which knows its orientation",
        )
    return header


def _header_of(path: Path) -> Path:
    """The header file of a pair of which `path` may be either, else `path`. Raises UserError where it is missing."""
    return _partner(path, ".hdr") if suffix(path).startswith(".img") else path


def _data_of(header: Path) -> Path:
    """The file with the voxels of the pair's `header`. Raises UserError where it is missing."""
    if not limits().detached_data:
        raise UserError("keeps its voxels in another file", str(header), "send it as one .nii.gz file")
    if not suffix(header).startswith(".hdr"):
        raise UserError("is the header of a pair of files, but is not called .hdr", str(header), "rename it")
    return _partner(header, ".img")


def _partner(path: Path, wanted: str) -> Path:
    """The other file of a pair (`wanted`: ".hdr" or ".img"), in the same letters; packed or not, as `path` first."""
    known = suffix(path)
    stem = path.name[: -len(known)]
    names = sorted((wanted, f"{wanted}.gz"), reverse=known.endswith(".gz"))
    if path.name.endswith(known.upper()):
        names = [name.upper() for name in names]
    found = [path.with_name(stem + name) for name in names if path.with_name(stem + name).is_file()]
    if not found:
        raise UserError(f"the other file of its pair, {stem}{names[0]}, is not beside it", str(path))
    return found[0]


def _voxels(path: Path, header: Any, offset: int, *, where: str, volume: str | None = None) -> Array:
    """The stored values (I, J, K), native byte order, unscaled; the claim is held against the file first.

    `volume`: the number of one of several volumes, "0" the first.
    """
    try:
        dtype = np.dtype(header.get_data_dtype())
        shape = tuple(int(n) for n in header.get_data_shape())
    except Exception as error:  # nibabel raises a kind of its own for every field
        raise UserError(f"its header is damaged: {error}", where) from error
    if dtype.itemsize == 0:
        raise UserError(
            f"its values are of the NIfTI datatype {int(header['datatype'])}, which is not read", where, _TYPES
        )
    if dtype.fields is not None:
        raise UserError("stores colours", where, "a volume holds one value a voxel")
    if volume is None:
        _refuse_several(shape, where, f"choose one of them, counted from 0: {where}#0")
        check_extent(shape, where, itemsize=dtype.itemsize)
    else:
        number = _number(volume, shape, where)
        shape = shape[:3]
        check_extent(shape, where, itemsize=dtype.itemsize)
        offset += number * math.prod(shape) * dtype.itemsize
    count = math.prod(shape)
    size = offset + count * dtype.itemsize
    if is_wanted() and not _checked_packed(path, size, shape):
        array: Array = np.memmap(path, dtype, "r", offset, shape, order="F")
    else:
        raw, start = _bytes(path, size, shape, offset)
        array = np.frombuffer(raw, dtype, count, start).reshape(shape, order="F")
    return squeeze_volume(array.astype(dtype.newbyteorder("="), copy=False), where)


def _refuse_several(shape: tuple[int, ...], where: str, hint: str) -> None:
    """Refuse a file of several volumes in which none was chosen."""
    if math.prod(shape[3:]) > 1 and min(shape) > 0:
        size = " x ".join(map(str, shape))
        raise UserError(f"is a {len(shape)}D volume ({size}) of {math.prod(shape[3:])} volumes", where, hint)


def _number(text: str, shape: tuple[int, ...], where: str) -> int:
    """The number of a volume behind the file's name. Raises UserError for one that is not there."""
    several = [n for n in shape[3:] if n != 1]
    count = math.prod(several)
    if len(several) > 1 or count < 1:
        raise UserError(f"has the shape {' x '.join(map(str, shape))}", where, "save the wanted volume alone")
    return volume_number(text, count, where)


def _claim(shape: tuple[int, ...], size: int) -> str:
    return f"its header claims {' x '.join(map(str, shape))} voxels ({size} bytes with the header)"


def _checked_packed(path: Path, size: int, shape: tuple[int, ...]) -> bool:
    """True if the file is gzip. Raises UserError if it is too short for its header."""
    length = path.stat().st_size
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    if size > length * (GZIP_RATIO if packed else 1):
        holds = f"the file has {length} bytes" + (" packed" if packed else "")
        raise UserError(f"is truncated or damaged: {_claim(shape, size)}, {holds}", str(path))
    return packed


def _bytes(path: Path, size: int, shape: tuple[int, ...], offset: int) -> tuple[bytes | bytearray, int]:
    """Bytes of the unpacked file up to byte `size`, and where in them byte `offset` is; never holds more memory than
    the file can fill, nor what lies before a volume far inside it."""
    packed = _checked_packed(path, size, shape)
    claim = _claim(shape, size)
    with path.open("rb") as raw:
        if not packed:
            raw.seek(offset)
            return raw.read(size - offset), 0
        data = bytearray()
        dropped = 0
        try:
            with gzip.GzipFile(fileobj=raw) as unpacked:
                while dropped + CHUNK < offset and (piece := unpacked.read(CHUNK)):
                    dropped += len(piece)
                while dropped + len(data) < size and (piece := unpacked.read(min(CHUNK, size - dropped - len(data)))):
                    data += piece
                unpacked.read(CHUNK)  # past a footer to the end, where the checksum is compared
        except (EOFError, OSError, zlib.error) as error:
            raise UserError(
                f"is truncated or damaged: {claim}, {dropped + len(data)} bytes could be unpacked", str(path)
            ) from error
    if dropped + len(data) < size:
        raise UserError(f"is truncated: {claim}, it holds {dropped + len(data)}", str(path))
    return data, offset - dropped


def _scaled(array: Array, slope: float | None, inter: float | None) -> Array:
    """Stored values times slope plus intercept; the stored dtype stays where there is no scale."""
    if slope is None or (slope == 1 and not inter):
        return array
    dtype = np.result_type(array.dtype, np.float32)
    scaled: Array = array.astype(dtype) * dtype.type(slope) + dtype.type(inter or 0)
    return scaled


def _image(array: Array, affine: Array, where: str, meta: dict[str, Any], empty: bool) -> Image:
    array = squeeze_volume(array, where)[None]
    check_affine(affine, where)
    check_values(array, where)
    if not empty:
        check_volume(array, where)
    return Image(array, np.asarray(affine, float), where, meta)
