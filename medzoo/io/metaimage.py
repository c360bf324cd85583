"""MetaImage files (.mha, or .mhd with its data beside it) as an Image; the format of MetaIO and ITK."""

from __future__ import annotations

from pathlib import Path, PurePath

import numpy as np

from medzoo.errors import UserError
from medzoo.io.check import check_affine, check_values, check_volume
from medzoo.io.payload import read_voxels
from medzoo.types import Array, Image

MOST_HEADER = 1 << 16
TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}


def read_metaimage(path: Path, *, empty: bool = False) -> Image:
    """A MetaImage volume as an Image (1, I, J, K) in its stored dtype; `empty` lets a volume of zeros pass.

    Its axes are ITK's, towards left, posterior, superior. Raises UserError that names the file.
    """
    where = str(path)
    fields, offset = _header(path)
    try:
        sizes = tuple(int(n) for n in fields["DimSize"].split())
        kind = TYPES[fields["ElementType"]]
        data = fields["ElementDataFile"]
    except KeyError as error:
        raise UserError(f"has no {error.args[0]} in its header, or one that medzoo does not read", where) from None
    except ValueError:
        raise UserError("its header is damaged: DimSize is not whole numbers", where) from None
    if len(sizes) != 3 or fields.get("ElementNumberOfChannels", "1") != "1":
        raise UserError(f"is no 3D volume of one channel ({fields['DimSize']})", where, "save the wanted one alone")
    source = path
    if data != "LOCAL":
        if PurePath(data).name != data or data in (".", "..") or "%" in data or data == "LIST":
            raise UserError(f"keeps its data in {data!r}", where, "save it as one .mha file")
        source, offset = path.with_name(data), 0
        if not source.is_file():
            raise UserError(f"its data file {data} is not beside it", where)
    big = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False")).lower() == "true"
    packed = fields.get("CompressedData", "False").lower() == "true"
    dtype = np.dtype((">" if big else "<") + kind)
    array = read_voxels(source, offset=offset, shape=sizes, dtype=dtype, packing="zlib" if packed else "raw")[None]
    affine = _affine(fields, where)
    check_affine(affine, where)
    check_values(array, where)
    if not empty:
        check_volume(array, where)
    return Image(array, affine, where, {"format": "metaimage"})


def _header(path: Path) -> tuple[dict[str, str], int]:
    """The fields, and where local data begin: after the line ElementDataFile, which is the last."""
    with path.open("rb") as handle:
        head = handle.read(MOST_HEADER)
    fields: dict[str, str] = {}
    at = 0
    while (end := head.find(b"\n", at)) >= 0:
        key, equals, value = head[at:end].decode("latin-1").partition("=")
        at = end + 1
        if not equals:
            break
        fields[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            return fields, at
    raise UserError("is no MetaImage, or its header is cut off", str(path))


def _affine(fields: dict[str, str], where: str) -> Array:
    def numbers(names: tuple[str, ...], default: str, count: int) -> Array:
        text = next((fields[name] for name in names if name in fields), default)
        try:
            return np.array([float(v) for v in text.split()]).reshape(count)
        except ValueError:
            raise UserError(f"its header is damaged: {names[0]} is not {count} numbers", where) from None

    affine = np.eye(4)
    # One axis' direction after the other: the columns of the matrix.
    turn = numbers(("TransformMatrix", "Rotation", "Orientation"), "1 0 0 0 1 0 0 0 1", 9).reshape(3, 3).T
    affine[:3, :3] = turn * numbers(("ElementSpacing", "ElementSize"), "1 1 1", 3)
    affine[:3, 3] = numbers(("Offset", "Position", "Origin"), "0 0 0", 3)
    return np.asarray(np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)
