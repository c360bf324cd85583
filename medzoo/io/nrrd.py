"""NRRD files (.nrrd, or .nhdr with its data beside it) as an Image.

Fields, types and encodings by https://teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from medzoo.errors import UserError
from medzoo.io.check import check_affine, check_values, check_volume, volume_number
from medzoo.io.payload import Encoding, read_voxels
from medzoo.io.regular import data_file, open_regular
from medzoo.types import Array, Image

T = TypeVar("T")
MOST_HEADER = 1 << 20
VERSIONS = (b"NRRD00.01", b"NRRD0001", b"NRRD0002", b"NRRD0003", b"NRRD0004", b"NRRD0005")
TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(
        ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"), "i8"
    ),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), "u8"),
    "float": "f4",
    "double": "f8",
}
# Which RAS direction each axis of an anatomical space has.
SPACES = {
    **dict.fromkeys(("right-anterior-superior", "ras"), (1, 1, 1)),
    **dict.fromkeys(("left-anterior-superior", "las"), (-1, 1, 1)),
    **dict.fromkeys(("left-posterior-superior", "lps"), (-1, -1, 1)),
}
LPS = (-1, -1, 1)
# Three axes that are not a patient's.
OTHER_SPACES = ("scanner-xyz", "3d-right-handed", "3d-left-handed")
ENCODINGS: dict[str, Encoding] = {
    "raw": "raw",
    **dict.fromkeys(("gzip", "gz"), "deflate"),
    **dict.fromkeys(("bzip2", "bz2"), "bzip2"),
    **dict.fromkeys(("ascii", "text", "txt"), "ascii"),
    "hex": "hex",
}
UNITS_IN_MM = {"um": 0.001, "\u00b5m": 0.001, "\u03bcm": 0.001, "micron": 0.001, "mm": 1.0, "cm": 10.0, "m": 1000.0}
SPATIAL = ("domain", "space", "???", "none")
SEVERAL = (*SPATIAL, "time", "list", "vector", "scalar")
SYNONYMS = {
    "datafile": "data file",
    "lineskip": "line skip",
    "byteskip": "byte skip",
    "axismins": "axis mins",
    "axismaxs": "axis maxs",
    "centers": "centerings",
    "sampleunits": "sample units",
    "oldmin": "old min",
    "oldmax": "old max",
    "blocksize": "block size",
}
READ = (
    *("type", "dimension", "sizes", "encoding", "endian", "line skip", "byte skip", "data file", "kinds", "centerings"),
    *("space", "space dimension", "space directions", "space origin", "space units", "units", "spacings"),
    *("axis mins", "axis maxs"),
)
# Fields that say nothing of where the values lie.
SPARE = (
    *("content", "number", "thicknesses", "labels", "min", "max", "old min", "old max", "sample units"),
    *("measurement frame",),
)


def read_nrrd(path: Path, *, volume: str | None = None, empty: bool = False) -> Image:
    """A NRRD volume as an Image (1, I, J, K) in its stored dtype; `empty` lets a volume of zeros pass.

    The space gives the affine; without one `meta["assumed"]` says so. A data file is read from the header's own folder
    alone. `volume`: the number of one volume, from 0, along the one axis that is not of space. Raises UserError that
    names the file.
    """
    where = str(path)
    fields, end = _header(path)
    sizes = tuple(_wholes(fields, "sizes", where))
    (dimension,) = _wholes(fields, "dimension", where, default=str(len(sizes))) or [0]
    if dimension != len(sizes):
        raise UserError(f"its header is damaged: it has {len(sizes)} sizes for {dimension} dimensions", where)
    axes, several = _axes_of_space(fields, sizes, where)
    if several is not None and volume is None:
        size = " x ".join(map(str, sizes))
        hint = f"choose one of them, counted from 0: {where}#0"
        raise UserError(f"is a {len(sizes)}D volume ({size}) of {sizes[several]} volumes", where, hint)
    number = None if volume is None else volume_number(volume, 1 if several is None else sizes[several], where)
    kind = _known(fields, "type", TYPES, where)
    encoding = _known(fields, "encoding", ENCODINGS, where)
    lines, skip = (_wholes(fields, name, where, default="0")[0] for name in ("line skip", "byte skip"))
    if lines < 0 or (skip < 0 and encoding in ("ascii", "hex")):
        raise UserError(f"skips {lines} lines and {skip} bytes, which does not tell where its data begin", where)
    source, end = (data_file(path, fields["data file"]), 0) if "data file" in fields else (path, end)
    stored = read_voxels(
        source,
        offset=end,
        shape=sizes,
        dtype=np.dtype(_byte_order(fields, kind, encoding, where) + kind),
        encoding=encoding,
        lines=lines,
        skip=skip,
        header=path if "data file" in fields else None,
    )
    if number is not None and several is not None:
        stored = np.take(stored, number, axis=several)
    array = stored.reshape(tuple(sizes[axis] for axis in axes), order="F")[None]
    affine, meta = _place(fields, axes, where)
    check_affine(affine, where)
    check_values(array, where)
    if not empty:
        check_volume(array, where)
    return Image(array, affine, where, {"format": "nrrd", **meta})


def _header(path: Path) -> tuple[dict[str, str], int]:
    """The fields in lower case, and where the data begin if they are in this file."""
    where = str(path)
    with open_regular(path) as handle:
        head = handle.read(MOST_HEADER)
    if not head.startswith(b"NRRD"):
        raise UserError("is not an NRRD file", where)
    if (version := head.split(b"\n", 1)[0].strip()) not in VERSIONS:
        shown = version[:12].decode("latin-1")
        raise UserError(
            f"is of the version {shown!r} of NRRD, which medzoo does not know", where, "save it as NRRD0005"
        )
    found = re.search(rb"\r?\n\r?\n", head)
    fields: dict[str, str] = {}
    text = head[: found.start() if found else len(head)].decode("utf-8", "surrogateescape")
    for line in text.replace("\r", "").split("\n")[1:]:
        if line.startswith("#") or not line.strip():
            continue
        field = re.match(r"([^:]*):([= ])(.*)", line)
        if field is None:
            raise UserError(f"has the line {line[:40]!r} in its header, which is not a field", where)
        if field[2] == "=":  # a key and value of the user's own
            continue
        name = " ".join(field[1].lower().split())
        name = SYNONYMS.get(name, name)
        if name not in (*READ, *SPARE):
            raise UserError(f"has the field {field[1][:40]!r}, which medzoo does not know", where, "leave it out")
        if name in fields:
            raise UserError(f"gives its field {name!r} twice", where, "repair the header")
        fields[name] = field[3].strip()
        if name == "data file" and re.match(r"(SKIP)?LIST\b|.*%", fields[name]):
            raise UserError(f"stores its data in several files ({fields[name]!r})", where, "save it as one .nrrd file")
    if found is None and "data file" not in fields:
        raise UserError("is truncated: its header has no end", where)
    return fields, found.end() if found else len(head)


def _wholes(fields: dict[str, str], name: str, where: str, *, default: str | None = None) -> list[int]:
    text = fields.get(name, default)
    if text is None:
        raise UserError(f"has no {name} in its header", where)
    try:
        numbers = [int(n) for n in text.split()]
    except ValueError:
        numbers = []
    if not numbers:
        raise UserError(f"its header is damaged: dimension and sizes are not whole numbers ({name})", where)
    return numbers


def _known(fields: dict[str, str], name: str, table: Mapping[str, T], where: str) -> T:
    if name not in fields:
        raise UserError(f"has no {name} in its header", where)
    value = " ".join(fields[name].lower().split())
    if value not in table:
        raise UserError(f"has the {name} {fields[name][:40]!r}, which medzoo does not read", where)
    return table[value]


def _byte_order(fields: dict[str, str], kind: str, encoding: Encoding, where: str) -> str:
    if kind.endswith("1") or encoding == "ascii":
        return "<"
    order = {"little": "<", "big": ">"}.get(fields.get("endian", "").lower())
    if order is None:
        raise UserError("does not state its byte order", where, "add the field endian: little, or big")
    return order


def _axes_of_space(fields: dict[str, str], sizes: tuple[int, ...], where: str) -> tuple[list[int], int | None]:
    """Numbers of the three axes of space, and of an axis of several volumes if there is one. Raises UserError."""
    kinds = fields.get("kinds", "").split() or ["???"] * len(sizes)
    directions = _directions(fields, where)
    if len(kinds) != len(sizes) or (directions is not None and len(directions) != len(sizes)):
        raise UserError(f"its header is damaged: kinds and space directions are not {len(sizes)}, one an axis", where)
    axes = [
        axis
        for axis in range(len(sizes))
        if kinds[axis].lower() in SPATIAL and (directions is None or directions[axis] is not None)
    ]
    while len(axes) > 3 and sizes[axes[-1]] == 1:
        axes.pop()
    others = [axis for axis in range(len(sizes)) if axis not in axes and sizes[axis] != 1]
    if len(axes) != 3 or len(others) > 1 or any(kinds[axis].lower() not in SEVERAL for axis in others):
        size = " x ".join(map(str, sizes))
        raise UserError(
            f"has {len(sizes)} dimensions ({size}), {len(axes)} of them of space",
            where,
            "medzoo reads one 3D volume: save the one you need as its own file",
        )
    return axes, others[0] if others else None


def _directions(fields: dict[str, str], where: str) -> list[list[float] | None] | None:
    """The direction of each axis, None for an axis that has none; None if the header gives none at all."""
    if "space directions" not in fields:
        return None
    parts = re.findall(r"none|\([^)]*\)", fields["space directions"], re.IGNORECASE)
    return [None if "none" in part.lower() else _vector(part, where) for part in parts]


def _vector(text: str, where: str) -> list[float]:
    try:
        vector = [float(v) for v in text.strip("() ").split(",")]
    except ValueError:
        vector = []
    if len(vector) != 3:
        raise UserError("its header is damaged: its space is not given in three numbers an axis", where)
    return vector


def _place(fields: dict[str, str], axes: list[int], where: str) -> tuple[Array, dict[str, Any]]:
    """The affine to RAS millimetres, and what was assumed for it. ITK takes a space that is not named as LPS, too."""
    directions = _directions(fields, where)
    space = " ".join(fields.get("space", "").lower().split())
    if space and space not in SPACES and space not in OTHER_SPACES:
        raise UserError(f"has the space {fields['space'][:40]!r}, which medzoo does not read", where)
    affine = np.eye(4)
    if directions is not None:
        affine[:3, :3] = np.array([directions[axis] for axis in axes]).T
        affine[:3, 3] = _vector(fields.get("space origin", "(0,0,0)"), where)
        unit, assumed = _unit(fields, "space units", [0, 1, 2], where)
    else:
        affine[:3, :3], affine[:3, 3] = _spacing_and_origin(fields, axes, where)
        unit, assumed = _unit(fields, "units", axes, where)
    affine[:3] *= unit
    affine = np.diag([*SPACES.get(space, LPS), 1.0]) @ affine
    if directions is None:
        assumed = "the header gives no orientation: axes to the left, posterior, superior"
    elif space not in SPACES:
        assumed = "the header names no anatomical space: taken as left, posterior, superior"
    return affine, {"assumed": assumed} if assumed else {}


def _spacing_and_origin(fields: dict[str, str], axes: list[int], where: str) -> tuple[Array, Array]:
    """Spacing along the diagonal and the centre of the first voxel, for a header without directions."""
    count = len(fields["sizes"].split())

    def numbers(name: str, default: float) -> Array:
        try:
            values = [float(v) for v in fields[name].split()] if name in fields else [default] * count
        except ValueError:
            values = []
        if len(values) != count:
            raise UserError(f"its header is damaged: {name} are not {count} numbers", where)
        return np.array(values)[axes]

    if "spacings" not in fields and ("axis mins" in fields or "axis maxs" in fields):
        raise UserError("gives the ends of its axes, but no spacings", where, "give the field spacings")
    spacing, least = numbers("spacings", 1.0), numbers("axis mins", np.nan)
    if not (spacing > 0).all():
        raise UserError(f"the voxel spacing in its header is {' x '.join(f'{s:g}' for s in spacing)} mm", where)
    centres = fields.get("centerings", "").lower().split() or ["cell"] * count
    edge = np.array([0.0 if centre == "node" else 0.5 for centre in centres])
    if len(edge) != count:
        raise UserError(f"its header is damaged: centerings are not {count}, one an axis", where)
    return np.diag(spacing), np.where(np.isfinite(least), least + edge[axes] * spacing, 0.0)


def _unit(fields: dict[str, str], name: str, axes: list[int], where: str) -> tuple[float, str | None]:
    """Millimetres of a unit of length, and what was assumed if medzoo does not know the unit."""
    named = re.findall(r'"([^"]*)"', fields.get(name, ""))
    if not named:
        return 1.0, None
    units = {named[axis].strip() for axis in axes if axis < len(named)} - {"", "???"}
    known = {UNITS_IN_MM.get(unit) for unit in units}
    if len(known) > 1:
        raise UserError(f"gives its axes in different units ({fields[name][:60]!r})", where, "give all in mm")
    unit = known.pop() if known else 1.0
    return (1.0, f"the unit {fields[name][:40]!r} is taken as mm") if unit is None else (unit, None)
