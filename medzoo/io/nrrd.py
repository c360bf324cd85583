"""NRRD files (attached data) as an Image; https://teem.sourceforge.net/nrrd/format.html."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.errors import UserError
from medzoo.io.check import check_affine, check_values, check_volume
from medzoo.io.payload import Packing, read_voxels
from medzoo.types import Array, Image

MOST_HEADER = 1 << 20
TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(("longlong", "long long", "long long int", "int64", "int64_t"), "i8"),
    **dict.fromkeys(("ulonglong", "unsigned long long", "uint64", "uint64_t"), "u8"),
    "float": "f4",
    "double": "f8",
}
# Which RAS direction each of a space's axes has.
SPACES = {
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
}
PACKINGS: dict[str, Packing] = {"raw": "raw", "gzip": "gzip", "gz": "gzip"}


def read_nrrd(path: Path, *, empty: bool = False) -> Image:
    """A NRRD volume as an Image (1, I, J, K) in its stored dtype; `empty` lets a volume of zeros pass.

    The space gives the affine; without one `meta["assumed"]` says so. Raises UserError that names the file.
    """
    where = str(path)
    fields, offset = _header(path)
    try:
        sizes = tuple(int(n) for n in fields["sizes"].split())
        dimension = int(fields.get("dimension", "3"))
        kind = TYPES[fields["type"].lower()]
        packing = PACKINGS[fields.get("encoding", "raw").lower()]
    except KeyError as error:
        raise UserError(f"has no {error.args[0]} in its header, or one that medzoo does not read", where) from None
    except ValueError:
        raise UserError("its header is damaged: dimension and sizes are not whole numbers", where) from None
    if "data file" in fields or "datafile" in fields:
        raise UserError("keeps its data in another file", where, "save it as one .nrrd file")
    if len(sizes) != 3 or dimension != len(sizes):
        raise UserError(f"has {len(sizes)} dimensions", where, "medzoo reads one 3D volume: save the wanted one alone")
    order = ">" if fields.get("endian", "little").lower() == "big" else "<"
    array = read_voxels(path, offset=offset, shape=sizes, dtype=np.dtype(order + kind), packing=packing)[None]
    affine, meta = _place(fields, where)
    check_affine(affine, where)
    check_values(array, where)
    if not empty:
        check_volume(array, where)
    return Image(array, affine, where, {"format": "nrrd", **meta})


def _header(path: Path) -> tuple[dict[str, str], int]:
    """The fields in lower case, and where the data begin."""
    with path.open("rb") as handle:
        head = handle.read(MOST_HEADER)
    if not head.startswith(b"NRRD"):
        raise UserError("is no NRRD file", str(path))
    end = re.search(rb"\r?\n\r?\n", head)
    if end is None:
        raise UserError("is truncated: its header has no end", str(path))
    fields: dict[str, str] = {}
    for line in head[: end.start()].decode("latin-1").splitlines()[1:]:
        key, colon, value = line.partition(": ")
        if colon and not line.startswith("#") and ":=" not in key:
            fields[key.strip().lower()] = value.strip()
    return fields, end.end()


def _place(fields: dict[str, str], where: str) -> tuple[Array, dict[str, Any]]:
    affine = np.eye(4)
    try:
        if "space directions" in fields:
            vectors = [_vector(text) for text in re.findall(r"\([^)]*\)", fields["space directions"])]
            affine[:3, :3] = np.array(vectors).T
            affine[:3, 3] = _vector(fields.get("space origin", "(0,0,0)"))
            space = SPACES.get(fields.get("space", "").lower())
            if space is not None:
                return np.diag([*space, 1.0]) @ affine, {}
            return affine, {"assumed": "the header names no anatomical space: taken as right, anterior, superior"}
        if "spacings" in fields:
            affine[:3, :3] = np.diag([float(s) for s in fields["spacings"].split()])
    except ValueError:
        raise UserError("its header is damaged: its space is not given in three numbers an axis", where) from None
    return affine, {"assumed": "the header gives no orientation: axes to the right, anterior, superior"}


def _vector(text: str) -> list[float]:
    vector = [float(v) for v in text.strip("() ").split(",")]
    if len(vector) != 3:
        raise ValueError
    return vector
