"""Pictures: depth, palettes, transparency, orientation; arrays; luma; and masks written beside them."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo.errors import UserError
from medzoo.io import format_of, luma, read_image, read_labels, stem, suffix, to_channels, write_mask
from medzoo.types import Image

RNG = np.random.default_rng(1)
GREY = RNG.integers(0, 256, (5, 7), np.uint8)
COLOUR = RNG.integers(0, 256, (5, 7, 3), np.uint8)
DEEP = RNG.integers(0, 65536, (5, 7), np.uint16)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_grey_and_colour_as_stored(tmp_path: Path, suffix: str) -> None:
    for array in (GREY, COLOUR):
        path = tmp_path / f"a{suffix}"
        Pillow.fromarray(array).save(path)
        image = read_image(path)
        assert image.affine is None
        np.testing.assert_array_equal(image.array, np.atleast_3d(array).transpose(2, 0, 1))


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bits_stay(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Pillow.fromarray(DEEP).save(path)
    image = read_image(path)
    assert image.array.dtype == np.uint16
    np.testing.assert_array_equal(image.array[0], DEEP)


def test_sixteen_bit_colour_is_kept_or_refused_never_cut(tmp_path: Path) -> None:
    import tifffile

    deep = RNG.integers(0, 65536, (5, 7, 3), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", deep, photometric="rgb")
    image = read_image(tmp_path / "a.tif")
    assert image.array.dtype == np.uint16
    np.testing.assert_array_equal(image.array, deep.transpose(2, 0, 1))

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    head = struct.pack(">IIBBBBB", 7, 5, 16, 2, 0, 0, 0)
    png = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + png)
    with pytest.raises(UserError, match="16-bit colour"):
        read_image(tmp_path / "a.png")


def test_white_is_zero_and_floating_point_tiff(tmp_path: Path) -> None:
    import tifffile

    tifffile.imwrite(tmp_path / "w.tif", DEEP, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(tmp_path / "w.tif").array[0], 65535 - DEEP)
    real = RNG.random((5, 7)).astype(np.float32)
    tifffile.imwrite(tmp_path / "f.tif", real)
    np.testing.assert_array_equal(read_image(tmp_path / "f.tif").array[0], real)
    real[2, 3] = np.nan
    tifffile.imwrite(tmp_path / "n.tif", real)
    with pytest.raises(UserError, match=r"NaN or infinite, the first at \(2, 3\)"):
        read_image(tmp_path / "n.tif")


def test_palette_alpha_and_bits(tmp_path: Path) -> None:
    Pillow.fromarray(COLOUR).quantize(16).save(tmp_path / "p.png")
    shown = np.asarray(Pillow.open(tmp_path / "p.png").convert("RGB")).transpose(2, 0, 1)
    np.testing.assert_array_equal(read_image(tmp_path / "p.png").array, shown)

    grey_palette = Pillow.fromarray(GREY).convert("P")
    grey_palette.save(tmp_path / "g.png")
    np.testing.assert_array_equal(read_image(tmp_path / "g.png").array, GREY[None])

    Pillow.fromarray(GREY > 127).save(tmp_path / "b.png")
    np.testing.assert_array_equal(read_image(tmp_path / "b.png").array[0], (GREY > 127) * 255)

    for alpha, expected in ((255, COLOUR), (0, COLOUR * 0)):
        rgba = np.dstack([COLOUR, np.full((5, 7), alpha, np.uint8)])
        Pillow.fromarray(rgba).save(tmp_path / "a.png")
        np.testing.assert_array_equal(read_image(tmp_path / "a.png").array, expected.transpose(2, 0, 1))
    Pillow.fromarray(np.dstack([GREY, np.full((5, 7), 255, np.uint8)]), "LA").save(tmp_path / "la.png")
    np.testing.assert_array_equal(read_image(tmp_path / "la.png").array, GREY[None])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((16, 24), np.uint8)
    upright[:8, :8] = 255  # a white block, upper left as the picture is looked at
    inverse = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: upright.T[::-1],
        7: upright[::-1, ::-1].T,
        8: upright.T[:, ::-1],
    }
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.jpg"
    Pillow.fromarray(np.ascontiguousarray(inverse[orientation])).save(path, quality=100, exif=exif)
    image = read_image(path)
    assert image.shape == (16, 24)
    assert image.array[0, :7, :7].min() > 240
    assert image.array[0, 9:, :].max() < 15
    assert image.array[0, :, 9:].max() < 15


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "F"])
def test_a_picture_that_pillow_opened_is_read_as_its_file(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.tif"
    made = Pillow.fromarray(DEEP if mode == "I;16" else GREY if mode in ("1", "L", "F") else COLOUR).convert(mode)
    made.save(path)
    from_file = read_image(path).array
    with Pillow.open(path) as opened:
        np.testing.assert_array_equal(read_image(opened).array, from_file)
    np.testing.assert_array_equal(read_image(made).array, from_file)
    turned = Pillow.fromarray(GREY)
    turned.getexif()[274] = 6
    assert read_image(turned).array.shape == (1, 7, 5)
    cut = tmp_path / "cut.png"
    Pillow.fromarray(RNG.integers(0, 256, (64, 64), np.uint8)).save(cut)
    cut.write_bytes(cut.read_bytes()[:2000])
    with Pillow.open(cut) as opened, pytest.raises(UserError, match="picture: is truncated or damaged"):
        read_image(opened)


def test_damaged_and_absurd_pictures_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    noise = RNG.integers(0, 256, (200, 200), np.uint8)
    Pillow.fromarray(noise).save(buffer, "PNG")
    whole = buffer.getvalue()
    jpeg = io.BytesIO()
    Pillow.fromarray(noise).save(jpeg, "JPEG")
    header = struct.pack(">II", 60000, 60000) + whole[24:29]
    bomb = whole[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + whole[33:]
    pages = io.BytesIO()
    Pillow.fromarray(GREY).save(pages, "TIFF", save_all=True, append_images=[Pillow.fromarray(GREY)])
    cases = {
        "cut.png": (whole[: len(whole) // 2], "truncated or damaged"),
        "head.png": (whole[:20], ""),
        "cut.jpg": (jpeg.getvalue()[: len(whole) // 3], "truncated"),
        "words.png": (b"just words " * 50, "not a picture"),
        "empty.png": (b"", "empty"),
        "bomb.png": (bomb, "larger than medzoo reads"),
        "pages.tif": (pages.getvalue(), "2 pages"),
    }
    for name, (data, words) in cases.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(UserError) as caught:
            read_image(str(path))
        assert words in str(caught.value)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_content_tells_the_format_where_the_name_does_not(tmp_path: Path) -> None:
    Pillow.fromarray(GREY).save(tmp_path / "a.png")
    (tmp_path / "a").write_bytes((tmp_path / "a.png").read_bytes())
    np.testing.assert_array_equal(read_image(tmp_path / "a").array[0], GREY)
    assert (suffix("x/Brain.T1.NII.GZ"), stem("x/Brain.T1.nii.gz")) == (".nii.gz", "Brain.T1")
    assert (suffix("a.b/c"), stem("a.b/c"), format_of("c.JPG")) == ("", "c", "picture")


def test_arrays(tmp_path: Path) -> None:
    assert read_image(GREY).array.shape == (1, 5, 7)
    np.testing.assert_array_equal(read_image(COLOUR).array, COLOUR.transpose(2, 0, 1))
    volume = read_image(RNG.random((5, 7, 3)))
    assert volume.array.shape == (1, 5, 7, 3)
    assert "no header" in volume.meta["assumed"]
    np.testing.assert_array_equal(volume.affine, np.eye(4))
    assert read_image(COLOUR, kind="volume").array.shape == (1, 5, 7, 3)
    assert read_image(DEEP[..., None].repeat(3, 2), kind="picture").array.shape == (3, 5, 7)
    with pytest.raises(UserError, match="is a picture, but a volume is needed"):
        read_image(Image(GREY[None]), kind="volume")
    for wrong in (
        np.zeros((2, 3, 4)),
        np.ones((2, 3, 4, 5)),
        np.full((2, 2), np.nan),
        np.ones(3),
        {"a": 1},
        3,
    ):
        with pytest.raises(UserError):
            read_image(wrong)


def test_luma_is_itu_r_601_at_the_stored_depth() -> None:
    pure = np.eye(3, dtype=np.uint8)[:, :, None] * 255
    assert luma(pure).ravel().tolist() == [76, 150, 29]
    for dtype in (np.uint8, np.uint16):
        grey = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)[None, None]
        np.testing.assert_array_equal(luma(grey.repeat(3, 0)), grey)
    deep = read_image(DEEP)
    assert to_channels(deep, 3).array.shape == (3, 5, 7)
    assert to_channels(deep, 3).array.dtype == np.uint16
    np.testing.assert_array_equal(to_channels(to_channels(deep, 3), 1).array, deep.array)
    assert to_channels(read_image(COLOUR), 1).array.shape == (1, 5, 7)
    with pytest.raises(UserError, match="2 channels"):
        to_channels(Image(np.zeros((2, 5, 7))), 3)


def test_a_picture_mask_is_png_with_labels_as_values(tmp_path: Path) -> None:
    image = read_image(COLOUR)
    mask = (GREY % 3).astype(np.uint8)
    path = write_mask(tmp_path / "m.png", mask, image)
    np.testing.assert_array_equal(np.asarray(Pillow.open(path)), mask)
    np.testing.assert_array_equal(read_labels(path, like=image).array[0], mask)
    with pytest.raises(UserError, match=r"written as \.png"):
        write_mask(tmp_path / "m.nii.gz", mask, image)


def test_a_pillow_picture_is_the_page_at_which_it_stands() -> None:
    pages = io.BytesIO()
    frames = [Pillow.new("L", (6, 4), value) for value in (10, 60, 200)]
    frames[0].save(pages, "TIFF", save_all=True, append_images=frames[1:])
    with Pillow.open(pages) as opened:
        for number, value in ((0, 10), (2, 200), (1, 60)):
            opened.seek(number)
            image = read_image(opened)
            assert image.array.max() == image.array.min() == value
            (note,) = image.meta["notes"]
            assert f"{number} from 0" in note
