"""MetaImage files (.mha, or .mhd with its data beside it) as an Image.

The format of MetaIO and ITK: https://docs.itk.org/en/latest/learn/metaio.html.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from medzoo.errors import UserError
from medzoo.io.check import check_affine, check_values, check_volume, volume_number
from medzoo.io.payload import Encoding, read_voxels
from medzoo.io.regular import data_file, open_regular
from medzoo.types import Array, Image

MOST_HEADER = 1 << 20
# MetaIO's long has four bytes on every system.
TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
UNITS_IN_MM = {"um": 0.001, "mm": 1.0, "cm": 10.0}
BYTE_ORDER = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
MATRIX = ("TransformMatrix", "Rotation", "Orientation")
SPACING = ("ElementSpacing", "ElementSize")
OFFSET = ("Offset", "Position", "Origin")
SLOPE, INTERCEPT = "ElementToIntensityFunctionSlope", "ElementToIntensityFunctionOffset"
# Fields that say where the values lie and what they mean; every other one is the user's own.
READ = {
    name.lower(): name
    for name in (
        *("ObjectType", "NDims", "DimSize", "ElementType", "ElementNumberOfChannels", "ElementDataFile", "HeaderSize"),
        *("BinaryData", "CompressedData", "DistanceUnits", "ElementNBits", SLOPE, INTERCEPT),
        *(*BYTE_ORDER, *MATRIX, *SPACING, *OFFSET),
    )
}


def read_metaimage(path: Path, *, volume: str | None = None, empty: bool = False) -> Image:
    """A MetaImage volume as an Image (1, I, J, K) in its stored dtype; `empty` lets a volume of zeros pass.

    Its axes are ITK's, towards left, posterior, superior. A data file is read from the header's own folder alone.
    Raises UserError that names the file.
    """
    where = str(path)
    fields, end = _header(path)
    *sizes, count = _sizes(fields, where)
    if count > 1 and volume is None:
        hint = f"choose one of them, counted from 0: {where}#0"
        raise UserError(f"is a volume of {count} volumes (DimSize {fields['DimSize']})", where, hint)
    number = 0 if volume is None else volume_number(volume, count, where)
    kind = TYPES.get(_given(fields, "ElementType", where))
    if kind is None:
        raise UserError(f"has elements of type {fields['ElementType']!r}, which medzoo does not read", where)
    _check_meaning(fields, where, bits=8 * np.dtype(kind).itemsize)
    order = [_flag(fields, name, where) for name in BYTE_ORDER if name in fields]
    if len(set(order)) > 1:
        raise UserError(f"its fields {' and '.join(BYTE_ORDER)} contradict each other", where, "repair the header")
    encoding: Encoding = "raw" if _flag(fields, "BinaryData", where, default=True) else "ascii"
    if _flag(fields, "CompressedData", where):
        if encoding == "ascii":
            raise UserError("declares its data as both compressed and text (BinaryData)", where, "repair the header")
        encoding = "deflate"
    data = _given(fields, "ElementDataFile", where)
    local = data.upper() == "LOCAL"
    if data.upper().startswith("LIST") or "%" in data:
        raise UserError(f"stores its data in several files ({data!r})", where, "save it as one .mha file")
    source = path if local else data_file(path, data)
    offset, skip = _start(fields, where, end=end if local else 0, encoding=encoding)
    stored = read_voxels(
        source,
        offset=offset,
        shape=tuple(sizes) if count == 1 else (*sizes, count),
        dtype=np.dtype((">" if any(order) else "<") + kind),
        encoding=encoding,
        skip=skip,
        header=None if local else path,
    )
    array = (stored if count == 1 else stored[..., number].copy())[None]
    affine = _affine(fields, where)
    check_affine(affine, where)
    check_values(array, where)
    if not empty:
        check_volume(array, where)
    return Image(array, affine, where, {"format": "metaimage"})


def _header(path: Path) -> tuple[dict[str, str], int]:
    """The fields, and where local data begin: after the line ElementDataFile, which is the last that counts."""
    where = str(path)
    with open_regular(path) as handle:
        head = handle.read(MOST_HEADER)
    fields: dict[str, str] = {}
    at = 0
    while at < len(head):
        end = head.find(b"\n", at)
        end = len(head) if end < 0 else end
        line = head[at:end].decode("utf-8", "surrogateescape")
        at = end + 1
        # MetaIO lets a colon stand for the equals sign; a line without either is no field.
        found = re.match(r"\s*([A-Za-z]+)\s*[=:](.*)", line)
        if found is None:
            continue
        name, value = found[1], found[2].strip()
        known = READ.get(name.lower())
        if known is None:
            continue
        if known != name:
            raise UserError(f"spells the field {known} as {name!r}", where, f"write {known}")
        if fields.setdefault(name, value) != value:
            raise UserError(f"gives its field {name} twice", where, "repair the header")
        if name == "ElementDataFile":
            return fields, at
    raise UserError("is not a MetaImage, or its header is truncated", where)


def _given(fields: dict[str, str], name: str, where: str) -> str:
    if not fields.get(name):
        raise UserError(f"has no {name} in its header", where)
    return fields[name]


def _flag(fields: dict[str, str], name: str, where: str, *, default: bool = False) -> bool:
    """Parse a boolean as MetaIO does, by its first letter."""
    if name not in fields:
        return default
    first = fields[name][:1].upper()
    if first not in ("T", "1", "F", "0"):
        raise UserError(f"its header is damaged: {name} is {fields[name]!r}, neither True nor False", where)
    return first in ("T", "1")


def _whole(text: str, name: str, where: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UserError(f"its header is damaged: {name} is not a whole number", where) from None


def _sizes(fields: dict[str, str], where: str) -> tuple[int, ...]:
    """(I, J, K, N) of N volumes, along the one further axis that is longer than one."""
    sizes = [_whole(text, "DimSize", where) for text in _given(fields, "DimSize", where).split()]
    dimensions = _whole(_given(fields, "NDims", where), "NDims", where) if "NDims" in fields else len(sizes)
    if dimensions != len(sizes):
        raise UserError(f"its header is damaged: DimSize gives {len(sizes)} axes, NDims {dimensions}", where)
    if len(sizes) < 3 or sum(n != 1 for n in sizes[3:]) > 1 or fields.get("ElementNumberOfChannels", "1") != "1":
        channels = fields.get("ElementNumberOfChannels", "1")
        raise UserError(
            f"is not a 3D volume with one channel ({fields['DimSize']!r}, {channels!r} channels)",
            where,
            "save the one you need as its own file",
        )
    return (*sizes[:3], math.prod(sizes[3:]))


def _check_meaning(fields: dict[str, str], where: str, *, bits: int) -> None:
    """Refuse headers whose fields change the meaning of the stored values, and objects that are not images."""
    if fields.get("ObjectType", "Image") != "Image":
        raise UserError(f"is a MetaObject of type {fields['ObjectType']!r}, not an image", where)
    for name, neutral in ((SLOPE, 1.0), (INTERCEPT, 0.0), ("ElementNBits", float(bits))):
        if name in fields:
            try:
                value = float(fields[name])
            except ValueError:
                raise UserError(f"its header is damaged: {name} is not a number", where) from None
            if value != neutral:
                raise UserError(
                    f"its field {name} is {value:g}, which medzoo does not read",
                    where,
                    "apply it to the values, then leave the field out",
                )


def _start(fields: dict[str, str], where: str, *, end: int, encoding: Encoding) -> tuple[int, int]:
    """(offset, skip) of `read_voxels`. HeaderSize counts from the beginning of the file that holds the data; -1 says
    that the data are its last bytes."""
    size = _whole(fields.get("HeaderSize", "0"), "HeaderSize", where)
    if size == -1 and encoding == "raw":
        return end, -1
    if size < 0:
        raise UserError(f"its field HeaderSize is {size}, which does not tell where its {encoding} data begin", where)
    if 0 < size < end:
        raise UserError(f"its field HeaderSize is {size}, its header has {end} bytes", where, "repair the header")
    return max(size, end), 0


def _affine(fields: dict[str, str], where: str) -> Array:
    n = len(fields["DimSize"].split())

    def numbers(names: tuple[str, ...], default: Array) -> Array:
        name = next((name for name in names if name in fields), None)
        try:
            return (
                default if name is None else np.array([float(v) for v in fields[name].split()]).reshape(default.shape)
            )
        except ValueError:
            raise UserError(f"its header is damaged: {name} is not {default.size} numbers", where) from None

    # One axis' direction after the other: the columns of the matrix.
    turn = numbers(MATRIX, np.eye(n)).T[:3, :3]
    spacing = numbers(SPACING, np.ones(n))[:3]
    if not (spacing > 0).all():
        raise UserError(f"the voxel spacing in its header is {' x '.join(f'{s:g}' for s in spacing)} mm", where)
    unit = UNITS_IN_MM.get(fields.get("DistanceUnits", "mm").strip("?") or "mm")
    if unit is None:
        raise UserError(f"its field DistanceUnits is {fields['DistanceUnits']!r}", where, "mm, cm and um are known")
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing * unit
    affine[:3, 3] = numbers(OFFSET, np.zeros(n))[:3] * unit
    return np.asarray(np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)
