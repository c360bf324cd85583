"""More than 150 damaged and hostile files of every format, read under a server's limits: each is an image or one line
that names it, in bounded memory, with no pixel of another file. Draws are seeded by the number of the case."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import resource
import signal
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image as Pillow

from medzoo.errors import UserError
from medzoo.types import Image

REAL = Path(pydicom.__file__).parent / "data" / "test_files"
SPARE = 256 << 20  # bytes that a file of at most a few MiB may take at its peak
SECONDS = 60  # which no case comes near: what hangs is ended
RNG = np.random.default_rng(7)
VALUES = RNG.integers(1, 999, (12, 10, 8)).astype(np.int16)
NRRD = "NRRD0004\ntype: short\ndimension: 3\nspace: LPS\nsizes: 12 10 8\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n"
META = "ObjectType = Image\nNDims = 3\nDimSize = 12 10 8\nElementType = MET_SHORT\n"


def saved(picture: Pillow.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def deep_tiff(**options: object) -> bytes:
    import tifffile

    file = io.BytesIO()
    colours = RNG.integers(0, 65536, (24, 20, 3)).astype(np.uint16)
    tifffile.imwrite(file, colours, photometric="rgb", metadata=None, **options)
    return file.getvalue()


def zipped(entries: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return file.getvalue()


def seeds() -> dict[str, bytes]:
    """Whole files, one of each form that the readers know."""
    raw = VALUES.tobytes(order="F")
    text = " ".join(map(str, VALUES.ravel(order="F"))).encode()
    grey = Pillow.fromarray((VALUES[:, :, 0] % 256).astype(np.uint8))
    colour = Pillow.merge("RGBA", [grey] * 4)
    made = {
        "one.nii": nib.Nifti1Image(VALUES, np.eye(4)).to_bytes(),
        "two.nii": nib.Nifti2Image(VALUES, np.eye(4)).to_bytes(),
        "packed.nii.gz": gzip.compress(nib.Nifti1Image(VALUES, np.eye(4)).to_bytes()),
        "free.mgz": gzip.compress(nib.MGHImage(VALUES.astype(np.float32), np.eye(4)).to_bytes()),
        "raw.nrrd": (NRRD + "endian: little\nencoding: raw\nbyte skip: -1\n\n").encode() + raw,
        "gzip.nrrd": (NRRD + "endian: big\nencoding: gzip\nline skip: 1\n\nx\n").encode() + gzip.compress(raw),
        "bzip2.nrrd": (NRRD + "endian: little\nencoding: bzip2\n\n").encode() + bz2.compress(raw),
        "text.nrrd": (NRRD + "encoding: ascii\n\n").encode() + text,
        "hex.nrrd": (NRRD + "endian: little\nencoding: hex\n\n").encode() + raw.hex().encode(),
        "raw.mha": (META + "HeaderSize = -1\nElementDataFile = LOCAL\n").encode() + raw,
        "text.mha": (META + "BinaryData = False\nElementDataFile = LOCAL\n").encode() + text,
        "packed.mha": (META + "CompressedData = True\nElementDataFile = LOCAL\n").encode() + zlib.compress(raw),
        "grey.png": saved(grey, "PNG"),
        "colour.png": saved(colour, "PNG"),
        "palette.png": saved(colour.convert("RGB").quantize(16), "PNG"),
        "base.jpg": saved(colour.convert("RGB"), "JPEG"),
        "progressive.jpg": saved(colour.convert("RGB"), "JPEG", progressive=True),
        "plain.bmp": saved(grey, "BMP"),
        "lzw.tif": saved(grey, "TIFF", compression="tiff_lzw"),
        "deep.tif": deep_tiff(compression="zlib", tile=(16, 16)),
        "big.tif": deep_tiff(bigtiff=True, rowsperstrip=5),
    }
    for name in ("CT_small.dcm", "MR_small_jp2klossless.dcm", "JPEGLSNearLossless_08.dcm", "SC_rgb_rle_2frame.dcm"):
        made[name] = (REAL / name).read_bytes()
    made["series.zip"] = zipped({f"{n}.dcm": made["CT_small.dcm"] for n in range(2)})
    return made


def cut(data: bytearray, draw: np.random.Generator) -> bytes:
    return bytes(data[: int(draw.integers(1, len(data)))])


def flipped(data: bytearray, draw: np.random.Generator) -> bytes:
    for at in draw.integers(0, min(len(data), 700), 6):
        data[at] ^= 1 << int(draw.integers(8))
    return bytes(data)


def numbers_exchanged(data: bytearray, draw: np.random.Generator) -> bytes:
    """A number of a text in the head, or four of its bytes, becomes one that no file can keep to."""
    found = list(re.finditer(rb"(?<=[ =(,])-?\d+", data[:400]))
    if not found or data[:4] not in (b"NRRD", b"Obje"):
        at = int(draw.integers(0, min(len(data) - 4, 600)))
        data[at : at + 4] = struct.pack("<I", int(draw.choice([2**32 - 1, 2**31, 0, 60000, 2**30])))
        return bytes(data)
    one = found[int(draw.integers(len(found)))]
    other = (b"99999999999", b"-1", b"0", b"nan", b"1e9", b"65536")[int(draw.integers(6))]
    return bytes(data[: one.start()]) + other + bytes(data[one.end() :])


def spliced(data: bytearray, draw: np.random.Generator) -> bytes:
    """Its head before another part of itself."""
    at = int(draw.integers(1, len(data)))
    return bytes(data[:at]) + bytes(data[int(draw.integers(len(data))) :])


def longer(data: bytearray, draw: np.random.Generator) -> bytes:
    """Something put into the middle, so that all that follows has moved."""
    at = int(draw.integers(1, min(len(data), 1000)))
    return bytes(data[:at]) + draw.bytes(int(draw.integers(1, 40))) + bytes(data[at:])


WAYS: tuple[Callable[[bytearray, np.random.Generator], bytes], ...] = (
    cut, flipped, numbers_exchanged, spliced, longer
)  # fmt: skip


def with_size(data: bytes, mark: bytes, at: int, size: bytes) -> bytes:
    """A compressed DICOM file whose code stream claims another size, `at` bytes behind its `mark`."""
    start = data.rindex(mark) + at
    return data[:start] + size + data[start + len(size) :]


def hostile(whole: dict[str, bytes]) -> dict[str, bytes]:
    """Files that no accident makes; none is an image."""
    one = {"x.dcm": whole["CT_small.dcm"]}
    link = io.BytesIO()
    with zipfile.ZipFile(link, "w") as archive:
        entry = zipfile.ZipInfo("x.dcm")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    tarred = io.BytesIO()
    with tarfile.open(fileobj=tarred, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("x.dcm"))
    many = zipped({f"{n}.dcm": b"" for n in range(5000)}, zipfile.ZIP_STORED)
    bomb = zipped({"x.dcm": whole["CT_small.dcm"][:200] + bytes(150 << 20)})
    narrow = bytearray(zipped(one))
    at = narrow.index(b"PK\1\2") + 24
    narrow[at : at + 4] = struct.pack("<I", 10)  # an entry shorter than its stream
    jpeg2000, jpeg_ls = whole["MR_small_jp2klossless.dcm"], whole["JPEGLSNearLossless_08.dcm"]
    huge = struct.pack(">II", 60000, 60000)
    return {
        "link.zip": link.getvalue(),
        "many.zip": many,
        "bomb.zip": bomb,
        "nested.zip": zipped({"a.zip": zipped(one)}),
        "bomb.dcm": bomb,
        "bomb": bomb,
        "narrow.zip": bytes(narrow),
        "cut.ZIP": zipped(one)[:-40],
        "cut.dcm": zipped(one)[:-40],
        "locked.zip": zipped(one).replace(b"PK\1\2\x14\x03\x14\0\0\0", b"PK\1\2\x14\x03\x14\0\1\0"),
        "a.tar": tarred.getvalue(),
        "tar.dcm": tarred.getvalue(),
        "a.tar.gz": gzip.compress(tarred.getvalue()),
        "a.nii.xz": lzma.compress(whole["one.nii"]),
        "a.nii.bz2": bz2.compress(whole["one.nii"]),
        "a.7z": b"7z\xbc\xaf\x27\x1c" + bytes(60),
        "a.dcm.gz": gzip.compress(whole["CT_small.dcm"]),
        "gzip.png": gzip.compress(whole["grey.png"]),
        "gzip.mha": gzip.compress(whole["raw.mha"]),
        "twice.nii.gz": gzip.compress(whole["packed.nii.gz"]),
        "size.dcm": with_size(jpeg2000, b"\xff\x4f\xff\x51", 8, huge),
        "components.dcm": with_size(jpeg2000, b"\xff\x4f\xff\x51", 40, struct.pack(">H", 9000)),
        "size_ls.dcm": with_size(jpeg_ls, b"\xff\xf7", 5, struct.pack(">HH", 60000, 60000)),
        "samples.dcm": whole["CT_small.dcm"].replace(b"\x28\0\2\0US\2\0\1\0", b"\x28\0\2\0US\2\0\xff\xff"),
        "allocated.dcm": whole["CT_small.dcm"].replace(b"\x28\0\0\1US\2\0\x10\0", b"\x28\0\0\1US\2\0\xf8\xff"),
        "bomb.nrrd": (NRRD.replace("12 10 8", "400 400 400") + "endian: little\nencoding: bzip2\n\n").encode()
        + bz2.compress(bytes(64 << 20), 9),
        "skip.nrrd": (NRRD + "endian: little\nencoding: gzip\nbyte skip: -1\n\n").encode()
        + gzip.compress(bytes(150 << 20) + b"\1", 1)[:-9],
        "lines.nrrd": (NRRD + "endian: little\nencoding: raw\nline skip: 999999999\n\n").encode() + b"\n" * 9999,
        "passwd.nhdr": (NRRD + "endian: little\nencoding: raw\ndata file: /etc/passwd\n\n").encode(),
        "up.nhdr": (NRRD + "encoding: ascii\ndata file: ../secret.txt\n\n").encode(),
        "beside.mhd": (META + "ElementDataFile = beside.raw\n").encode(),
        "list.mhd": (META + "ElementDataFile = LIST\n/etc/passwd\n").encode(),
        "pattern.mhd": (META + "ElementDataFile = %s%s%s%n 1 9 1\n").encode(),
        "word.mha": (META + "BinaryData = False\nElementDataFile = LOCAL\n").encode() + b"7" * 3_000_000,
        "offset.nii": whole["one.nii"][:108] + struct.pack("<f", float("nan")) + whole["one.nii"][112:],
        "far.nii.gz": gzip.compress(whole["one.nii"][:108] + struct.pack("<f", 3e9) + whole["one.nii"][112:]),
        "empty.zip": zipped({}),
        "zeros.dcm": bytes(3 << 20),
        "padded.dcm": whole["CT_small.dcm"][:200] + bytes(3 << 20),
        "text.dcm": b"\x1b]0;a title\x07\nnot an image at all\n" * 20,
    }


def cases() -> list[tuple[str, str, bytes]]:
    """(case, file name, bytes)."""
    whole = seeds()
    made = [(f"hostile {name}", name, data) for name, data in hostile(whole).items()]
    for number, (name, way) in enumerate((name, way) for name in whole for way in WAYS):
        made.append((f"{way.__name__} {name}", name, way(bytearray(whole[name]), np.random.default_rng(number))))
    return made


def read_all(folder: Path, wrong: list[str]) -> int:
    """Every case read in this process, so that memory is that of the readers alone; returns how many were refused."""
    from medzoo.io import read_image
    from medzoo.io.limits import SERVER, limited

    refused = 0
    for name, data in seeds().items():  # whole, they can be read: what is tried below is their damage
        if name != "SC_rgb_rle_2frame.dcm" and name != "series.zip":
            (folder / name).write_bytes(data)
            with limited(SERVER):
                read_image(folder / name)
            (folder / name).unlink()
    made = cases()
    assert len(made) > 150
    for case, name, data in made:
        path = folder / name
        path.write_bytes(data)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        signal.alarm(SECONDS)
        words = None
        try:
            with limited(SERVER):
                image = read_image(path)
            if not isinstance(image, Image) or not np.isfinite(image.array).all():
                wrong.append(f"{case}: is no image")
        except UserError as error:
            words, refused = str(error), refused + 1
        except BaseException as error:
            wrong.append(f"{case}: {type(error).__name__}: {error}")
        signal.alarm(0)
        if words is not None and ("\n" in words or name not in words):
            wrong.append(f"{case}: the error is {words!r}")
        if words is None and case.startswith("hostile"):
            wrong.append(f"{case}: was read")
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - before
        if grown > SPARE:
            wrong.append(f"{case}: took {grown >> 20} MiB for {len(data) >> 10} KiB")
        path.unlink()
        if left := [one.name for one in folder.iterdir()]:
            wrong.append(f"{case}: left {left}")
    return refused


def _child(folder: Path, queue: object) -> None:
    wrong: list[str] = []
    refused = 0
    try:
        refused = read_all(folder, wrong)
    except BaseException as error:
        wrong.append(f"{type(error).__name__}: {error}")
    queue.put((wrong, refused))  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore")
def test_hostile_files_are_refused_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    (tmp_path / "secret.txt").write_text("1 " * VALUES.size)
    context = get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=_child, args=(folder, queue))
    child.start()
    # What a child of `SECONDS` without an answer leaves behind is nothing: the queue stays empty.
    child.join(1)
    while queue.empty() and child.is_alive():
        child.join(0.2)
    assert not queue.empty(), f"the readers ended with {child.exitcode}: a case hung"
    wrong, refused = queue.get()
    child.join(30)
    assert not wrong, "\n".join(wrong)
    assert refused > 100
