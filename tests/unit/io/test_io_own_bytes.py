"""A picture is read from its own bytes: no other file that its metadata name, no size that it merely claims."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo.errors import UserError
from medzoo.io import read_image
from medzoo.io.limits import SERVER, Limits, limited

tifffile = pytest.importorskip("tifffile")
RNG = np.random.default_rng(3)
OWN = RNG.integers(0, 65536, (30, 40, 3)).astype(np.uint16)
OTHER = RNG.integers(0, 65536, (30, 40, 3)).astype(np.uint16)


def ome(file: str, *, frames: int = 1) -> str:
    return (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:1">'
        '<Image ID="Image:0"><Pixels DimensionOrder="XYCZT" ID="P:0" SizeC="3" '
        f'SizeT="{frames}" SizeX="40" SizeY="30" SizeZ="1" Type="uint16">'
        '<Channel ID="C:0" SamplesPerPixel="3"/><TiffData IFD="0" PlaneCount="1">'
        f'<UUID FileName="{file}">urn:uuid:2</UUID></TiffData></Pixels></Image></OME>'
    )


def tiff(description: str | None = None, array: np.ndarray = OWN, **options: object) -> bytes:
    file = io.BytesIO()
    options = {"photometric": "rgb", "metadata": None, "description": description} | options
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def named(folder: Path) -> dict[str, str]:
    """Descriptions by which a reader of series looks elsewhere, by what they name."""
    return {
        "absolute": ome(str(folder / "other.tif")),
        "relative": ome("../other.tif"),
        "beside": ome("beside.tif"),
        "pipe": ome(str(folder / "pipe")),
        "folder": ome(str(folder)),
        "device": ome("/dev/zero"),
        "frames": ome("a.tif", frames=20000),
        "shaped": '{"shape": [20000, 30, 40, 3], "truncated": true}',
        "imagej": "ImageJ=1.11a\nimages=20000\nslices=20000\nhyperstack=true\nmode=grayscale\n",
    }


@pytest.mark.parametrize("kind", named(Path("x")))
def test_metadata_lead_nowhere(tmp_path: Path, kind: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "other.tif").write_bytes(tiff(ome("other.tif"), OTHER))
    (inside / "beside.tif").write_bytes(tiff(ome("beside.tif"), OTHER))
    (inside / "a.tif").write_bytes(tiff(named(tmp_path)[kind]))
    np.testing.assert_array_equal(read_image(inside / "a.tif").array, OWN.transpose(2, 0, 1))


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "zlib"},
        {"compression": "zlib", "predictor": True},
        {"byteorder": ">"},
        {"bigtiff": True},
        {"tile": (16, 32)},
        {"tile": (16, 32), "compression": "zlib"},
        {"rowsperstrip": 7},
    ],
)
def test_forms_of_sixteen_bit_colour(tmp_path: Path, options: dict[str, object]) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(**options))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").array, OWN.transpose(2, 0, 1))
    planes = np.ascontiguousarray(OWN.transpose(2, 0, 1))
    (tmp_path / "b.tif").write_bytes(tiff(array=planes, planarconfig="separate", **options))
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif").array, planes)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_sixteen_bit_colour_is_that_of_eight(tmp_path: Path, orientation: int) -> None:
    tag = (274, 3, 1, orientation, True)
    (tmp_path / "deep.tif").write_bytes(tiff(array=OWN, extratags=[tag]))
    (tmp_path / "flat.tif").write_bytes(tiff(array=(OWN >> 8).astype(np.uint8), extratags=[tag]))
    deep, flat = read_image(tmp_path / "deep.tif"), read_image(tmp_path / "flat.tif")
    np.testing.assert_array_equal(deep.array >> 8, flat.array)


@pytest.mark.parametrize(("kind", "seen"), [("unassalpha", True), ("assocalpha", False), ("unspecified", False)])
def test_opacity_of_sixteen_bit_colour(tmp_path: Path, kind: str, seen: bool) -> None:
    rgba = np.dstack([OWN, RNG.integers(0, 65536, (30, 40)).astype(np.uint16)])
    (tmp_path / "a.tif").write_bytes(tiff(array=rgba, extrasamples=[kind]))
    expected = np.floor(OWN * (rgba[..., 3:] / 65535) + 0.5) if seen else OWN
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").array, expected.transpose(2, 0, 1))


def with_tag(data: bytes, tag: int, value: int) -> bytes:
    """A little-endian TIFF whose first entry of `tag` holds one long number."""
    at = data.index(struct.pack("<H", tag), 8)
    return data[: at + 2] + struct.pack("<HII", 4, 1, value) + data[at + 12 :]


def bombs() -> dict[str, bytes]:
    blank = np.zeros((30, 40, 3), np.uint16)
    made = {
        "size": with_tag(with_tag(tiff(), 256, 60_000), 257, 60_000),
        "samples": with_tag(tiff(), 277, 60_000),
        "tile": with_tag(with_tag(tiff(tile=(16, 16)), 322, 60_000), 323, 60_000),
        "missing strips": with_tag(tiff(rowsperstrip=30), 278, 1),
    }
    stream = zlib.compress(bytes(200 << 20), 9)
    packed = bytearray(tiff(array=blank, compression="zlib", rowsperstrip=30))
    made["strip"] = with_tag(with_tag(bytes(packed), 273, len(packed)), 279, len(stream)) + stream
    shallow = tiff(array=np.zeros((32, 32), np.uint8), photometric="minisblack", tile=(16, 16), compression="zlib")
    made["grey tile"] = with_tag(with_tag(shallow, 322, 60_000), 323, 60_000)
    return made


@pytest.mark.parametrize("kind", bombs())
def test_a_tiff_that_claims_more_than_it_holds(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(bombs()[kind])
    with pytest.raises(UserError, match=r"^[^\n]*a\.tif: [^\n]+$"):
        read_image(path)


def test_pages_are_counted_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    file = io.BytesIO()
    pages = [Pillow.new("L", (4, 4)) for _ in range(6)]
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:])
    path.write_bytes(file.getvalue())
    with pytest.raises(UserError, match="holds 6 pages"):
        read_image(path)
    with limited(Limits(pages=3)), pytest.raises(UserError, match="holds more than 3 pages"):
        read_image(path)


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """A picture of 2 x 2 with `chunks` before its pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0ab\0cd"))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunk(*one) for one in chunks) + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize("name", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_png_whose_chunk_unpacks_beyond_reason(tmp_path: Path, name: bytes) -> None:
    stream = zlib.compress(bytes(100 << 20), 9)
    body = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0", b"iCCP": b"k\0\0"}[name]
    path = tmp_path / "a.png"
    path.write_bytes(png((name, body + stream)))
    tracemalloc.start()
    try:
        with suppress(UserError):
            assert read_image(path).shape == (2, 2)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_a_jpeg_of_endless_scans(tmp_path: Path) -> None:
    file = io.BytesIO()
    Pillow.new("L", (64, 64)).save(file, "JPEG", progressive=True)
    whole = file.getvalue()
    at = whole.index(b"\xff\xda")
    scan = whole[at : whole.index(b"\xff\xda", at + 2)]
    path = tmp_path / "a.jpg"
    path.write_bytes(whole[:at] + scan * 2000 + whole[at:])
    with pytest.raises(UserError, match=r"a\.jpg: is a JPEG with 20\d\d scans"):
        read_image(path)
    path.write_bytes(whole)
    assert read_image(path).shape == (64, 64)


@pytest.mark.parametrize("suffix", ["png", "jpeg", "bmp", "tiff"])
def test_limits_of_a_picture(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Pillow.new("RGB", (40, 30)).save(path)
    with limited(Limits(pixels=1199)), pytest.raises(UserError, match="claims 40 x 30 pixels, more than medzoo reads"):
        read_image(path)
    with limited(Limits(pixels=1200)):
        assert read_image(path).shape == (30, 40)


@pytest.mark.parametrize("suffix", ["", ".png", ".tif", ".dcm", ".nii", ".nii.gz", ".mgz", ".nrrd", ".mha", ".zip"])
def test_what_is_no_regular_file(tmp_path: Path, suffix: str) -> None:
    """Refused, and a named pipe is not waited for."""
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / f"link{suffix}").symlink_to(tmp_path / f"pipe{suffix}")
    (tmp_path / f"device{suffix}").symlink_to("/dev/zero")
    for name in ("pipe", "link", "device"):
        with pytest.raises(UserError, match=rf"{name}{suffix}: is not a regular file"):
            read_image(tmp_path / f"{name}{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(UserError, match=rf"folder{suffix}: "):
        read_image(tmp_path / f"folder{suffix}")


def test_a_pipe_that_takes_a_files_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The opened file is checked, not its name."""
    for suffix in (".png", ".nrrd", ".mha"):
        path = tmp_path / f"a{suffix}"
        os.mkfifo(path)
        monkeypatch.setattr(Path, "is_file", lambda self: True)
        monkeypatch.setattr("medzoo.io.nifti.read_head", lambda path: b"")
        with pytest.raises(UserError, match=rf"a\{suffix}: (is not a regular file|is empty)"):
            read_image(path)


def test_the_servers_limits_are_smaller() -> None:
    usual = Limits()
    for name in ("pixels", "voxels", "decoded_bytes", "archive_entries", "archive_bytes", "pages"):
        assert getattr(SERVER, name) < getattr(usual, name)
    assert not SERVER.detached_data
