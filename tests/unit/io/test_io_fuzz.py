"""200 damaged files: cut, flipped, with wrong lengths, hostile headers, bombs, deep sequences. Each is read or refused
in one line, soon, in little memory, and nothing is written. Seeds are the numbers of the cases."""

from __future__ import annotations

import gzip
import io
import resource
import struct
import time
import zipfile
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image as Pillow

from medzoo.errors import UserError

REAL = Path(pydicom.__file__).parent / "data" / "test_files"
CASES = 200
SECONDS = 5.0
SPARE = 192 << 20  # what decoders and buffers of a few MiB may take beside twice a file's honest size


def seeds() -> dict[str, bytes]:
    """Small whole files, one a format."""
    values = np.random.default_rng(0).integers(0, 999, (24, 20, 16)).astype(np.int16)
    volume = nib.Nifti1Image(values, np.diag([1.0, 2.0, 3.0, 1.0]))
    made: dict[str, bytes] = {"a.nii": volume.to_bytes(), "b.nii.gz": gzip.compress(volume.to_bytes())}
    made["c.mgh"] = nib.MGHImage(values.astype(np.float32), np.eye(4)).to_bytes()
    picture = Pillow.fromarray((values[:, :, 0] % 256).astype(np.uint8))
    for suffix in ("png", "jpeg", "tiff", "bmp"):
        file = io.BytesIO()
        picture.save(file, suffix.upper())
        made[f"d.{suffix}"] = file.getvalue()
    header = "NRRD0004\ntype: short\ndimension: 3\nsizes: 24 20 16\nendian: little\nencoding: gzip\n\n"
    made["e.nrrd"] = header.encode() + gzip.compress(values.tobytes(order="F"))
    header = "ObjectType = Image\nNDims = 3\nDimSize = 24 20 16\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    made["f.mha"] = header.encode() + values.tobytes(order="F")
    for name in ("CT_small.dcm", "MR_small_RLE.dcm", "image_dfl.dcm", "SC_rgb_small_odd.dcm"):
        made[name] = (REAL / name).read_bytes()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.dcm", made["CT_small.dcm"])
    made["g.zip"] = file.getvalue()
    return made


def cut(data: bytearray, draw: np.random.Generator) -> bytes:
    return bytes(data[: int(draw.integers(1, len(data)))])


def flipped(data: bytearray, draw: np.random.Generator) -> bytes:
    for at in draw.integers(0, min(len(data), 4096), 12):
        data[at] ^= 1 << int(draw.integers(8))
    return bytes(data)


def long_fields(data: bytearray, draw: np.random.Generator) -> bytes:
    """Somewhere in the head a length or a size becomes a huge or a negative number."""
    at = int(draw.integers(0, min(len(data) - 4, 1200)))
    data[at : at + 4] = struct.pack("<i", int(draw.choice([2**31 - 1, -1, -(2**31), 0x7FFF7FFF, 0])))
    return bytes(data)


def scrambled(data: bytearray, draw: np.random.Generator) -> bytes:
    at = int(draw.integers(0, len(data)))
    data[at : at + 400] = draw.bytes(min(400, len(data) - at))
    return bytes(data)


def zeros_for_the_rest(data: bytearray, draw: np.random.Generator) -> bytes:
    at = int(draw.integers(1, len(data)))
    return bytes(data[:at]) + bytes(len(data) - at)


WAYS: tuple[Callable[[bytearray, np.random.Generator], bytes], ...] = (
    cut, flipped, long_fields, scrambled, zeros_for_the_rest
)  # fmt: skip


def hostile() -> dict[str, bytes]:
    """Files that no accident makes."""
    part10 = bytes(128) + b"DICM" + b"\x02\x00\x10\x00UI\x14\x00" + b"1.2.840.10008.1.2.1\0"
    deep = part10 + (b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * 4000
    whole = nib.Nifti1Image(np.ones((8, 8, 8), np.uint8), np.eye(4)).to_bytes()
    huge = bytearray(whole)
    huge[40:56] = struct.pack("<8h", 3, 32767, 32767, 32767, 1, 1, 1, 1)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.dcm", bytes(300 << 20))
    meta = part10[:128] + b"DICM" + b"\x02\x00\x10\x00UI\x16\x00" + b"1.2.840.10008.1.2.1.99"
    import zlib

    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    bomb = meta + packer.compress(bytes(1200 << 20)) + packer.flush()
    defined = b""  # sequences in each other, every length right, and one that claims four GiB
    for _ in range(3000):
        item = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(defined)) + defined
        defined = b"\x08\x00\x15\x11SQ\0\0" + struct.pack("<I", len(item)) + item
    long = b"\x08\x00\x15\x11SQ\0\0" + struct.pack("<I", 2**32 - 2)
    rle = bytearray((REAL / "MR_small_RLE.dcm").read_bytes())
    for tag in (b"\x28\0\x10\0US\x02\0", b"\x28\0\x11\0US\x02\0"):  # rows and columns
        at = rle.index(tag) + len(tag)
        rle[at : at + 2] = b"\xff\xff"
    frames = (
        (REAL / "CT_small.dcm")
        .read_bytes()
        .replace(b"\x28\0\x10\0US", b"\x28\0\x08\0IS\x0a\x002147483647\x28\0\x10\0US", 1)
    )
    mgh = bytearray(nib.MGHImage(np.ones((4, 4, 4), np.float32), np.eye(4)).to_bytes())
    mgh[4:16] = struct.pack(">3i", 2000, 2000, 2000)
    small = io.BytesIO()
    Pillow.fromarray(np.zeros((8, 8), np.uint8)).save(small, "JPEG")
    jpeg = bytearray(small.getvalue())
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 65500, 65500)
    small = io.BytesIO()
    Pillow.fromarray(np.zeros((8, 8), np.uint8)).save(small, "TIFF")
    tiff = small.getvalue()
    for tag in (256, 257):  # width, height
        at = tiff.index(struct.pack("<H", tag), 8)
        tiff = tiff[: at + 2] + struct.pack("<HII", 4, 1, 100_000) + tiff[at + 12 :]
    small = io.BytesIO()
    Pillow.fromarray(np.zeros((8, 8), np.uint8)).save(small, "BMP")
    bmp = bytearray(small.getvalue())
    bmp[18:26] = struct.pack("<ii", 90_000, 90_000)
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:  # one in another, as bombs are packed
        archive.writestr("bomb.zip", file.getvalue())
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as archive:
        for number in range(3000):
            archive.writestr(f"{number}.dcm", b"")
    grey = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 60000, 60000) + b"\x08\0\0\0\0"
    return {
        "deep.dcm": deep,
        "huge.nii": bytes(huge),
        "huge.nii.gz": gzip.compress(bytes(huge) + bytes(20 << 20)),
        "bomb.zip": file.getvalue(),
        "deflated.dcm": bomb,
        "defined.dcm": part10 + defined,
        "long.dcm": part10 + long,
        "rle.dcm": bytes(rle),
        "frames.dcm": frames,
        "huge.mgh": bytes(mgh),
        "huge.mgz": gzip.compress(bytes(mgh) + bytes(20 << 20)),
        "huge.jpeg": bytes(jpeg),
        "huge.tiff": tiff,
        "huge.bmp": bytes(bmp),
        "inner.zip": inner.getvalue(),
        "many.zip": many.getvalue(),
        "huge.png": grey + zlib.crc32(grey[12:]).to_bytes(4, "big"),
        "huge.nrrd": b"NRRD0004\ntype: double\ndimension: 3\nsizes: 9999 9999 20\nencoding: gzip\n\n" + bytes(64),
        "huge.mha": b"NDims = 3\nDimSize = 9999 9999 20\nElementType = MET_DOUBLE\nElementDataFile = LOCAL\n",
        "empty.dcm": b"",
        "link.mhd": b"NDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = /etc/passwd\n",
    }


def cases() -> list[tuple[str, str, bytes]]:
    """(case, file name, bytes): CASES in all."""
    whole = seeds()
    made = [(f"hostile {name}", name, data) for name, data in hostile().items()]
    for number in range(CASES - len(made)):
        name = list(whole)[number % len(whole)]
        way = WAYS[(number // len(whole)) % len(WAYS)]
        data = way(bytearray(whole[name]), np.random.default_rng(number))
        made.append((f"{number} {way.__name__} {name}", name, data))
    return made


def read_all(folder: Path, wrong: list[str]) -> None:
    """In a process of its own, so that memory is that of the readers alone."""
    from medzoo.io import read_image

    made = cases()
    assert len(made) == CASES
    for case, name, data in made:
        path = folder / name
        path.write_bytes(data)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        start = time.process_time()
        try:
            read_image(path)
        except UserError as error:
            if "\n" in str(error) or name not in str(error):
                wrong.append(f"{case}: the error is {error!s}")
        except BaseException as error:
            wrong.append(f"{case}: {type(error).__name__}: {error}")
        else:
            if case.startswith("hostile"):
                wrong.append(f"{case}: was read")
        if time.process_time() - start > SECONDS:
            wrong.append(f"{case}: took {time.process_time() - start:.1f} s")
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - before
        if grown > 2 * len(data) + SPARE:  # the bombs among them claim gigabytes
            wrong.append(f"{case}: took {grown >> 20} MiB for {len(data) >> 10} KiB")
        path.unlink()
        left = sorted(p.name for p in folder.iterdir())
        if left:
            wrong.append(f"{case}: left {left}")


def _child(folder: Path, queue: object) -> None:
    wrong: list[str] = []
    read_all(folder, wrong)
    queue.put(wrong)  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_refused_in_one_line(tmp_path: Path) -> None:
    context = get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=_child, args=(tmp_path, queue))
    child.start()
    wrong = queue.get(timeout=600)
    child.join(30)
    assert child.exitcode == 0
    assert not wrong, "\n".join(wrong)
