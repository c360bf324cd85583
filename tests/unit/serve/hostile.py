"""Damaged and hostile files and requests from a seed, and the invariants of a server that received them."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from medzoo.runtime.protocol.tensors import HEADER_LENGTH


def good_files(folder: Path) -> dict[str, bytes]:
    """Small files of every format that a server reads, by name."""
    import nibabel as nib
    from pydicom.data import get_testdata_file

    rng = np.random.default_rng(7)
    picture = rng.integers(0, 255, (40, 50), np.uint8)
    colour = rng.integers(0, 255, (40, 50, 3), np.uint8)
    volume = rng.integers(0, 255, (12, 14, 9)).astype(np.int16)
    found: dict[str, bytes] = {}
    for name, array in (
        ("grey.png", picture),
        ("colour.png", colour),
        ("c.jpg", colour),
        ("c.tif", colour),
        ("c.bmp", colour),
    ):
        buffer = io.BytesIO()
        Pillow.fromarray(array).save(buffer, {"png": "PNG", "jpg": "JPEG", "tif": "TIFF", "bmp": "BMP"}[name[-3:]])
        found[name] = buffer.getvalue()
    for name in ("v.nii", "v.nii.gz"):
        nib.save(nib.Nifti1Image(volume, np.diag([1.0, 1, 2, 1])), folder / name)
        found[name] = (folder / name).read_bytes()
    nib.save(nib.MGHImage(volume, np.diag([1.0, 1, 2, 1])), folder / "v.mgz")
    found["v.mgz"] = (folder / "v.mgz").read_bytes()
    raw = volume.tobytes("F")
    found["v.mha"] = (
        b"ObjectType = Image\nNDims = 3\nDimSize = 12 14 9\nElementType = MET_SHORT\nElementSpacing = 1 1 2\n"
        b"ElementByteOrderMSB = False\nElementDataFile = LOCAL\n" + raw
    )
    found["v.nrrd"] = (
        b"NRRD0004\ntype: int16\ndimension: 3\nsizes: 12 14 9\nspacings: 1 1 2\nendian: little\nencoding: gzip\n\n"
        + gzip.compress(raw)
    )
    dicom = Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()
    found["s.dcm"] = dicom
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", dicom)
    found["s.zip"] = buffer.getvalue()
    return found


def damaged(files: dict[str, bytes], count: int, *, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """`count` files: cut, with other bytes, of another suffix, repeated, claiming large sizes, or unpacking to them."""
    rng = np.random.default_rng(seed)
    names = list(files)
    bombs = list(_bombs())
    for number in range(count):
        name = names[number % len(names)]
        raw = bytearray(files[name])
        kind = int(rng.integers(7))
        if kind == 0:
            raw = raw[: int(rng.integers(len(raw)))]
        elif kind == 1:
            for _ in range(int(rng.integers(1, 9))):
                raw[int(rng.integers(len(raw)))] = int(rng.integers(256))
        elif kind == 2:  # where headers lie
            for _ in range(int(rng.integers(1, 9))):
                raw[int(rng.integers(min(len(raw), 400)))] = int(rng.choice([0, 1, 127, 128, 255]))
        elif kind == 3:
            name = names[int(rng.integers(len(names)))]
        elif kind == 4:
            at = int(rng.integers(len(raw)))
            raw[at:at] = rng.bytes(int(rng.integers(1, 200)))
        elif kind == 5:  # a whole number becomes a large one
            at = int(rng.integers(min(len(raw), 400) - 4))
            raw[at : at + 4] = struct.pack(
                rng.choice(["<I", ">I"]), int(rng.choice([2**31 - 1, 2**32 - 1, 10**6, 65535]))
            )
        else:
            name, packed = bombs[number % len(bombs)]
            raw = bytearray(packed)
        yield name, bytes(raw)


def _bombs() -> Iterator[tuple[str, bytes]]:
    """A few kilobytes each, or little more, that unpack to, or claim, hundreds of megabytes."""

    def chunk(kind: bytes, raw: bytes) -> bytes:
        return struct.pack(">I", len(raw)) + kind + raw + struct.pack(">I", zlib.crc32(kind + raw))

    for width, height, lines in (
        (8192, 4096, 4096),
        (30_000, 30_000, 10),
        (2**31 - 1, 2**31 - 1, 1),
        (1 << 20, 32, 32),
    ):
        packer = zlib.compressobj(9)
        row = bytes(min(width, 1 << 20) + 1)
        packed = b"".join(packer.compress(row) for _ in range(lines)) + packer.flush()
        head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
        yield "bomb.png", b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    head = bytearray(352)
    for shape, kind, bits in (((1000, 1000, 200), 64, 64), ((400, 400, 200), 2, 8), ((32767, 32767, 32767), 4, 16)):
        struct.pack_into("<i", head, 0, 348)
        struct.pack_into("<8h", head, 40, 3, *shape, 1, 1, 1, 1)
        struct.pack_into("<hh", head, 70, kind, bits)
        struct.pack_into("<8f", head, 76, 1, 20, 20, 20, 1, 1, 1, 1)
        struct.pack_into("<ff", head, 108, 352.0, 1.0)
        struct.pack_into("<hh", head, 252, 0, 1)
        for row in range(3):
            struct.pack_into("<4f", head, 280 + 16 * row, *(20.0 if row == column else 0.0 for column in range(4)))
        head[344:348] = b"n+1\0"
        yield "bomb.nii.gz", gzip.compress(bytes(head) + b"\1" + bytes(32 << 20))
    yield (
        "bomb.nrrd",
        (
            b"NRRD0004\ntype: double\ndimension: 3\nsizes: 2000 2000 2000\nencoding: gzip\n\n"
            + gzip.compress(bytes(1 << 24))
        ),
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(20):
            archive.writestr(f"{number}.dcm", bytes(16 << 20))
    yield "bomb.zip", buffer.getvalue()


def malformed(count: int, model: str, *, seed: int = 0) -> Iterator[bytes]:
    """`count` HTTP requests as bytes, each of them wrong in its own way."""
    rng = np.random.default_rng(seed)
    data = [0.0] * 16
    tensor = {"name": "image", "datatype": "FP32", "shape": [1, 1, 4, 4], "data": data}
    odd: list[Any] = [
        None,
        -1,
        1e400,
        "x",
        [],
        {},
        [[1], [2, 3]],
        True,
        2**70,
        "\ud800",
        float("nan"),
        10**9,
        "9" * 5000,
    ]
    address = f"/v2/models/{model}/infer"
    for number in range(count):
        kind = number % 6
        headers = {"Host": "127.0.0.1", "Connection": "close"}
        method, path, body = "POST", address, json.dumps({"inputs": [tensor]}).encode()
        if kind == 0:
            field = rng.choice(["name", "datatype", "shape", "data", "parameters"])
            body = json.dumps({"inputs": [{**tensor, field: odd[int(rng.integers(len(odd)))]}]}).encode()
        elif kind == 1:
            field = rng.choice(["inputs", "outputs", "id", "parameters", "other"])
            body = json.dumps({"inputs": [tensor], field: odd[int(rng.integers(len(odd)))]}).encode()
        elif kind == 2:
            body = bytes(rng.choice([b"[" * 200_000, b"{}", b"null", b'{"inputs":' * 5000, rng.bytes(3000), b'"' * 9]))
        elif kind == 3:
            headers[HEADER_LENGTH] = str(rng.choice(["-1", "0", "99999999", "x", "1e3", "9" * 30]))
            body += rng.bytes(int(rng.integers(100)))
        elif kind == 4:
            headers["Content-Encoding"] = str(rng.choice(["gzip", "deflate", "br", "gzip, gzip"]))
            body = bytes(rng.choice([gzip.compress(bytes(1 << 20)), gzip.compress(body)[:-3], rng.bytes(50)]))
        else:
            path = str(
                rng.choice(
                    [f"/predict/{model}?threshold=7", f"/predict/{model}?none=1", "/v2/models/../x", "/x" * 9000]
                )
            )
            headers["Content-Type"] = str(rng.choice(["multipart/form-data", "multipart/form-data; boundary=x", "a"]))
            method = str(rng.choice(["POST", "GET", "PUT", "BREW"]))
        headers["Content-Length"] = str(len(body) + (int(rng.choice([0, 0, 0, 0, -1])) if len(body) else 0))
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        yield f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body
