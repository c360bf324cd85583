"""Checks of the sizes in a DICOM header against the limits and the stored bytes, before anything is decoded."""

from __future__ import annotations

import struct
from typing import Any, BinaryIO

from medzoo.errors import UserError
from medzoo.io.check import check_extent, check_picture_size

# A frame whose header claims more bytes than this many times what is stored for it is a hostile one.
MOST_PACKED = 4096
_SOON_READ = 1 << 20  # bytes, even of the shortest elements
_JPEG2000 = b"\xff\x4f\xff\x51"
_JPEG_LS_FRAME = 0xF7


def check_declared_size(dataset: Any, where: str) -> None:
    """Refuse frames x rows x columns x samples beyond the limits or beyond what the stored bytes can hold, and
    compressed frames whose own header claims another size (ITU-T T.81 B.2.2, T.87 C.2.2, T.800 A.5.1).

    Raises UserError that names the file.
    """
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    frames, samples = int(dataset.get("NumberOfFrames") or 1), int(dataset.get("SamplesPerPixel") or 1)
    itemsize = max(1, (int(dataset.get("BitsAllocated") or 8) + 7) // 8)
    shape = tuple(n for n, several in ((frames, frames != 1), (rows, True), (columns, True)) if several)
    held = len(dataset.PixelData or b"")
    claimed = frames * rows * columns * samples * int(dataset.get("BitsAllocated") or 8) // 8
    if claimed > MOST_PACKED * max(held, 1):
        size = " x ".join(map(str, shape))
        raise UserError(f"its header claims {size} pixels, {held} bytes are stored for them", where)
    check_extent((*shape, samples) if samples != 1 else shape, where, itemsize=itemsize)
    if frames == 1:
        check_picture_size(columns, rows, where, itemsize=samples * itemsize)
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is None or not syntax.is_encapsulated:
        return
    import pydicom  # noqa: F401  (the whole first: threads import at once)
    from pydicom.encaps import generate_fragments

    for fragment in generate_fragments(dataset.PixelData):
        size_of = coded_size(fragment)
        if size_of is not None and size_of != (columns, rows, samples):
            have, need = (" x ".join(map(str, one)) for one in (size_of, (columns, rows, samples)))
            raise UserError(f"its compressed pixels are {have}, its header claims {need}", where)


def refuse_padding(handle: BinaryIO, where: str) -> None:
    """Refuse a long file whose data set begins with elements of group 0000, which pydicom reads one by one however many
    they are: zeros are such elements. No file holds them (PS3.10 7.1). Leaves `handle` at its start.

    Raises UserError.
    """
    handle.seek(0, 2)
    is_long = handle.tell() > _SOON_READ
    handle.seek(0)
    if not is_long:
        return
    import pydicom  # noqa: F401  (the whole first: threads import at once)
    from pydicom.filereader import _read_file_meta_info, read_preamble

    read_preamble(handle, force=True)
    _read_file_meta_info(handle)
    if handle.read(2) == b"\0\0":
        raise UserError("is damaged: it has padding in place of its dataset", where)
    handle.seek(0)


def coded_size(data: bytes) -> tuple[int, int, int] | None:
    """(columns, rows, components) by the header of a JPEG, JPEG-LS or JPEG 2000 code stream; None if it has none."""
    at = data.find(_JPEG2000, 0, 4096)
    if at >= 0 and (data.startswith(_JPEG2000) or data[4:8] == b"jP  "):
        if len(data) < at + 42:
            return None
        x1, y1, x0, y0 = struct.unpack_from(">4I", data, at + 8)
        (components,) = struct.unpack_from(">H", data, at + 40)
        return x1 - x0, y1 - y0, components
    if not data.startswith(b"\xff\xd8"):
        return None
    at = 2
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == _JPEG_LS_FRAME:
            rows, columns, components = struct.unpack_from(">HHB", data, at + 5)
            return columns, rows, components
        if marker == 0xDA:
            return None
        at += 2 if 0xD0 <= marker <= 0xD7 or marker == 0x01 else 2 + struct.unpack_from(">H", data, at + 2)[0]
    return None
