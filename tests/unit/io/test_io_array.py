"""Arrays and bytes in memory are read as the file of the same picture is, or refused with the way out."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo.errors import UserError
from medzoo.io import from_array, read_image, read_labels
from medzoo.types import Array

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (12, 17, 3), dtype=np.uint8)
RGBA = np.dstack([COLOUR, RNG.integers(0, 256, (12, 17), dtype=np.uint8)])
GREY = COLOUR[..., 0]


def picture(array: Any, **options: Any) -> Array:
    return from_array(array, kind="picture", **options).array


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.int32, np.uint16, np.float32])
def test_every_order_of_axes_gives_the_picture_of_the_file(dtype: Any, tmp_path: Path) -> None:
    Pillow.fromarray(COLOUR).save(tmp_path / "colour.png")
    Pillow.fromarray(GREY).save(tmp_path / "grey.png")
    colour, grey = (read_image(tmp_path / f"{name}.png").array for name in ("colour", "grey"))
    values = COLOUR.astype(dtype)
    for same in (values, values.transpose(2, 0, 1), values[None], values.transpose(2, 0, 1)[None]):
        assert np.array_equal(picture(same), colour)
    values = GREY.astype(dtype)
    for same in (values, values[..., None], values[None], values[None, None], values[None, ..., None], values.T.T):
        assert np.array_equal(picture(same), grey)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.int32])
def test_opacity_is_laid_over_black_as_in_the_file(dtype: Any, tmp_path: Path) -> None:
    Pillow.fromarray(RGBA).save(tmp_path / "rgba.png")
    file = read_image(tmp_path / "rgba.png").array
    assert not np.array_equal(file, COLOUR.transpose(2, 0, 1))
    for same in (RGBA.astype(dtype), RGBA.astype(dtype).transpose(2, 0, 1), RGBA.astype(dtype)[None]):
        assert np.array_equal(picture(same), file)
    assert np.array_equal(read_image(Pillow.fromarray(RGBA)).array, file)
    assert np.array_equal(read_image(RGBA).array, file)
    real = picture(RGBA.astype(np.float64) / 255)
    assert np.abs(255 * real - file).max() <= 0.5 + 1e-9
    opaque = np.dstack([COLOUR, np.full_like(GREY, 255)]) / 255
    assert np.array_equal(picture(opaque), COLOUR.transpose(2, 0, 1) / 255)


def test_blue_green_red_is_turned_round_and_nothing_else(tmp_path: Path) -> None:
    Pillow.fromarray(RGBA).save(tmp_path / "rgba.png")
    for rgb in (COLOUR, RGBA):
        order = [2, 1, 0, 3][: rgb.shape[2]]
        expected = picture(rgb)
        for bgr in (rgb[..., order], rgb[..., order].transpose(2, 0, 1), rgb[..., order][None]):
            assert np.array_equal(picture(bgr, bgr=True), expected)
            assert not np.array_equal(picture(bgr), expected)
    assert np.array_equal(picture(GREY, bgr=True), GREY[None])
    cv2 = pytest.importorskip("cv2")
    Pillow.fromarray(COLOUR).save(tmp_path / "colour.png")
    assert np.array_equal(picture(cv2.imread(str(tmp_path / "colour.png")), bgr=True), picture(COLOUR))
    assert np.array_equal(
        picture(cv2.imread(str(tmp_path / "rgba.png"), cv2.IMREAD_UNCHANGED), bgr=True), picture(RGBA)
    )
    with pytest.raises(UserError, match="is a volume, but bgr"):
        from_array(np.ones((4, 5, 6)), bgr=True)


@pytest.mark.parametrize(
    "shape", [(3, 3, 3), (3, 90, 3), (4, 90, 3), (1, 90, 3), (3, 90, 1), (4, 4, 4), (1, 3, 3, 3), (1, 7, 1)]
)
def test_a_shape_that_can_be_read_both_ways_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"first axis or the last .*Image\.fromarray"):
        picture(np.ones(shape, np.uint8))
    if shape[-1] == 3 and len(shape) == 3:
        with pytest.raises(UserError, match="first axis or the last"):
            read_image(np.ones(shape, np.uint8))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((40,), "of 40 is not a picture"),
        ((40, 40, 20), "of 40 x 40 x 20 is not a picture"),
        ((40, 41, 2), "is not a picture"),
        ((2, 40, 40, 3), r"is a batch of 2 .*predict\(list\(array\)\)"),
        ((1, 1, 1, 4, 4), "is not a picture"),
        ((0, 40), "empty array"),
        ((), "a single value"),
    ],
)
def test_what_is_no_picture_is_refused(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        picture(np.ones(shape, np.uint8))


def test_masked_values_are_refused_and_a_mask_of_nothing_is_none() -> None:
    nothing = np.ma.masked_invalid([[np.nan, 1.0]])
    for masked in (np.ma.masked_greater(GREY, 200), np.ma.masked_equal(COLOUR, 7), nothing):
        with pytest.raises(UserError, match=r"\d+ values are masked .*filled\(0\)"):
            picture(masked)
    assert np.array_equal(picture(np.ma.masked_array(GREY)), GREY[None])
    assert np.array_equal(picture(np.ma.masked_greater(GREY, 200).filled(0)), np.where(GREY > 200, 0, GREY)[None])


class Labelled:
    """As an array of xarray: values behind `__array__`."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return GREY.astype(dtype or GREY.dtype)


def test_objects_that_turn_into_arrays_are_read() -> None:
    torch, pandas = pytest.importorskip("torch"), pytest.importorskip("pandas")
    for same in (torch.tensor(GREY), pandas.DataFrame(GREY), Labelled(), memoryview(GREY.copy()), GREY.astype(">i4")):
        assert np.array_equal(read_image(same).array, GREY[None])
    for wrong in (
        torch.ones((4, 5), requires_grad=True),
        torch.ones((4, 5), dtype=torch.bfloat16),
        torch.ones((4, 5), device="meta"),
        torch.ones((4, 5)).to_sparse(),
    ):
        with pytest.raises(UserError, match=r"torch Tensor cannot be converted to an array: .*\.detach\(\)"):
            read_image(wrong)
    for odd in (pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]}), GREY.astype(object), GREY.astype(complex)):
        with pytest.raises(UserError, match="stores"):
            read_image(odd)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A picture, a volume, an archive's member by name."""
    Pillow.fromarray(COLOUR).save(tmp_path / "a.png")
    Pillow.fromarray(GREY.astype(np.float32)).save(tmp_path / "b.tiff")
    volume = nibabel.Nifti1Image(RNG.integers(1, 99, (4, 5, 6), dtype=np.int16), np.diag([2, 2, 3, 1.0]))
    nibabel.save(volume, tmp_path / "c.nii")
    nibabel.save(volume, tmp_path / "d.nii.gz")
    return {path.name: path for path in tmp_path.iterdir()}


@pytest.mark.parametrize("name", ["a.png", "b.tiff", "c.nii", "d.nii.gz"])
def test_open_files_and_bytes_are_read_as_the_file(files: dict[str, Path], name: str) -> None:
    expected, raw = read_image(files[name]), files[name].read_bytes()
    written = io.BytesIO()
    written.write(raw)  # and stands at its end, as after Pillow's save
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(name, raw)
    with (
        files[name].open("rb") as file,
        tempfile.TemporaryFile() as nameless,
        tempfile.NamedTemporaryFile(suffix=".bin") as unflushed,
        tempfile.SpooledTemporaryFile() as spooled,
        zipfile.ZipFile(archive).open(name) as member,
    ):
        for handle in (nameless, unflushed, spooled):
            handle.write(raw)
        for source in (raw, bytearray(raw), memoryview(raw), written, file, nameless, unflushed, spooled, member):
            image = read_image(source)
            assert np.array_equal(image.array, expected.array)
            assert (image.affine is None) == (expected.affine is None)
            assert image.affine is None or np.array_equal(image.affine, expected.affine)
        assert read_image(file).source == str(files[name])
        assert written.tell() == len(raw)


def test_what_cannot_be_read_from_is_named(files: dict[str, Path], tmp_path: Path) -> None:
    closed = files["a.png"].open("rb")
    closed.close()
    with files["a.png"].open(encoding="latin-1") as text, (tmp_path / "new.png").open("wb") as out:
        for wrong, words in (
            (closed, r"a\.png: cannot be read: .*closed file"),
            (text, r"a\.png: is open in text mode, but an image is binary \(open it with open\(path, 'rb'\)"),
            (io.StringIO("x"), "StringIO: is open in text mode"),
            (out, r"new\.png: cannot be read"),
            (io.BytesIO(), r"BytesIO: is empty \(0 bytes\)"),
            (b"hello", "bytes: is not an image that medzoo reads"),
            (files["a.png"].read_bytes()[:200], "bytes: is truncated or damaged"),
        ):
            with pytest.raises(UserError, match=words) as refused:
                read_image(wrong)
            assert "medzoo-" not in str(refused.value)  # the folder that it was read in


def test_a_mask_may_be_bool_and_lie_in_memory(files: dict[str, Path]) -> None:
    assert np.array_equal(read_labels(GREY > 9).array, (GREY > 9)[None])
    raw = io.BytesIO()
    Pillow.fromarray((GREY > 9).astype(np.uint8) * 255).save(raw, "PNG")
    assert np.array_equal(read_labels(raw).array > 0, (GREY > 9)[None])
