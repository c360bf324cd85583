"""Volumes from NIfTI and MGH files and nibabel images, and what is refused in one line."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medzoo.errors import UserError
from medzoo.io import read_image, read_labels, write_mask

AFFINE = np.array([[-1.5, 0, 0, 30], [0, 2, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1]], float)


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = AFFINE, **fields: object) -> Path:
    image = nib.Nifti1Image(array, affine)
    for name, value in fields.items():
        image.header[name] = value
    nib.save(image, path)
    return path


def patch(path: Path, offset: int, packed: bytes) -> Path:
    data = bytearray(path.read_bytes())
    data[offset : offset + len(packed)] = packed
    path.write_bytes(data)
    return path


@pytest.fixture
def values() -> np.ndarray:
    return np.arange(1, 4 * 5 * 6 + 1, dtype=np.int16).reshape(4, 5, 6)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "<f4", ">i2", ">f8"])
def test_values_dtype_and_affine_are_those_of_the_file(
    tmp_path: Path, values: np.ndarray, suffix: str, dtype: str
) -> None:
    header = nib.Nifti1Header(endianness=">" if dtype[0] == ">" else "<")
    header.set_data_dtype(np.dtype(dtype))
    path = tmp_path / f"a{suffix}"
    nib.save(nib.Nifti1Image(values.astype(dtype), AFFINE, header), path)
    image = read_image(str(path))
    assert image.array.shape == (1, 4, 5, 6)
    assert image.array.dtype == np.dtype(dtype).newbyteorder("=")
    assert image.array.dtype.isnative
    np.testing.assert_array_equal(image.array[0], values.astype(dtype))
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-6)
    assert image.source == str(path)
    assert image.spacing == pytest.approx((1.5, 2, 3))


def test_scale_slope_and_intercept_are_applied(tmp_path: Path, values: np.ndarray) -> None:
    path = save(tmp_path / "a.nii", values)
    patch(path, 112, struct.pack("<ff", 0.5, -7.0))
    image = read_image(path)
    assert image.array.dtype == np.float32
    np.testing.assert_allclose(image.array[0], values * 0.5 - 7)


@pytest.mark.parametrize("suffix", [".mgh", ".mgz"])
def test_mgh_lies_where_nibabel_says(tmp_path: Path, values: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    nib.save(nib.MGHImage(values.astype(np.float32), AFFINE), path)
    image = read_image(path)
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-4)
    np.testing.assert_array_equal(image.array[0], values)


def test_sform_before_qform_before_neither(tmp_path: Path, values: np.ndarray) -> None:
    other = AFFINE.copy()
    other[:3, 3] = 1, 2, 3
    image = nib.Nifti1Image(values, AFFINE)
    image.header.set_sform(AFFINE, 4)
    image.header.set_qform(other, 1)
    nib.save(image, tmp_path / "both.nii")
    both = read_image(tmp_path / "both.nii")
    np.testing.assert_allclose(both.affine, AFFINE)
    assert (both.meta["sform_code"], both.meta["qform_code"]) == (4, 1)

    image.header["sform_code"] = 0
    path = tmp_path / "q.nii"
    nib.save(nib.Nifti1Image(values, None, image.header), path)
    np.testing.assert_allclose(read_image(path).affine, other, atol=1e-5)
    assert "assumed" not in read_image(path).meta

    patch(path, 252, struct.pack("<hh", 0, 0))
    unknown = read_image(path)
    assert "no orientation" in unknown.meta["assumed"]
    np.testing.assert_allclose(unknown.affine, nib.load(path).affine)


def test_micrometres_become_millimetres(tmp_path: Path, values: np.ndarray) -> None:
    path = save(tmp_path / "a.nii", values, AFFINE * [[1000], [1000], [1000], [1]])
    patch(path, 123, bytes([3]))
    np.testing.assert_allclose(read_image(path).affine, AFFINE, rtol=1e-6)


def test_trailing_axes_of_one_are_dropped_and_a_plane_is_a_volume(tmp_path: Path, values: np.ndarray) -> None:
    assert read_image(save(tmp_path / "a.nii", values[..., None])).shape == (4, 5, 6)
    assert read_image(save(tmp_path / "b.nii", values[:, :, 0])).shape == (4, 5, 1)


def test_a_nibabel_image_and_its_file_are_the_same(tmp_path: Path, values: np.ndarray) -> None:
    path = save(tmp_path / "a.nii.gz", values)
    patch_free = nib.load(path)
    image, from_file = read_image(patch_free), read_image(path)
    np.testing.assert_array_equal(image.array, from_file.array)
    np.testing.assert_array_equal(image.affine, from_file.affine)
    assert image.array.dtype == from_file.array.dtype


def refuse(path: Path, *words: str) -> None:
    with pytest.raises(UserError) as caught:
        read_image(path)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    for word in words:
        assert word in text


def test_missing_empty_folder_and_strangers(tmp_path: Path) -> None:
    refuse(tmp_path / "absent.nii.gz", "no such file")
    (tmp_path / "empty.nii").touch()
    refuse(tmp_path / "empty.nii", "empty")
    refuse(tmp_path, "folder")
    for name in ("words.txt", "words", "words.nii", "words.nii.gz", "words.mgz", "words.mgh", "words.dcm"):
        (tmp_path / name).write_bytes(b"no image at all, only words, " * 40)
        refuse(tmp_path / name, "is no")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mgz"])
def test_truncated_anywhere(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(1, 255, (20, 20, 20)).astype(np.uint8)
    whole = tmp_path / f"whole{suffix}"
    nib.save(nib.MGHImage(noise, AFFINE) if "mg" in suffix else nib.Nifti1Image(noise, AFFINE), whole)
    data = whole.read_bytes()
    cut = tmp_path / f"cut{suffix}"
    for length in (1, 10, 200, 400, len(data) // 2, len(data) - 6 if suffix != ".nii" else len(data) - 1):
        cut.write_bytes(data[:length])
        refuse(cut)


def test_absurd_claims_are_refused_before_memory_is_set_aside(tmp_path: Path, values: np.ndarray) -> None:
    for suffix in (".nii", ".nii.gz"):
        path = save(tmp_path / "big.nii", values)
        patch(path, 42, struct.pack("<hhh", 1200, 1200, 1200))
        if suffix == ".nii.gz":
            packed = tmp_path / "big.nii.gz"
            packed.write_bytes(gzip.compress(path.read_bytes()))
            path = packed
        refuse(path, "1200 x 1200 x 1200")
    patch(tmp_path / "big.nii", 42, struct.pack("<hhh", 32767, 32767, 32767))
    refuse(tmp_path / "big.nii", "more than medzoo reads")
    patch(tmp_path / "big.nii", 42, struct.pack("<hhh", -4, 5, 6))
    refuse(tmp_path / "big.nii", "-4 x 5 x 6")


def test_four_dimensions_colours_and_bad_numbers(tmp_path: Path, values: np.ndarray) -> None:
    refuse(save(tmp_path / "4d.nii", np.stack([values] * 3, -1)), "4D volume (4 x 5 x 6 x 3)")
    nan = values.astype(np.float32)
    nan[1, 2, 3] = np.nan
    refuse(save(tmp_path / "nan.nii", nan), "1 values are NaN or infinite, the first at (1, 2, 3)")
    nan[1, 2, 3] = np.inf
    refuse(save(tmp_path / "inf.nii.gz", nan), "NaN or infinite")
    refuse(save(tmp_path / "zero.nii", values * 0), "every voxel is zero")
    refuse(save(tmp_path / "complex.nii", values.astype(np.complex64)), "complex")
    colour = np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    refuse(save(tmp_path / "rgb.nii", colour), "colours")


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("spacing", [0.0, -1.0, float("nan")])
def test_spacing_that_is_none(tmp_path: Path, values: np.ndarray, axis: int, spacing: float) -> None:
    path = save(tmp_path / "a.nii", values)
    refuse(patch(path, 80 + 4 * axis, struct.pack("<f", spacing)), "voxel spacing")


def test_affines_that_are_no_grid(tmp_path: Path, values: np.ndarray) -> None:
    def with_sform(linear: list[list[float]]) -> Path:
        path = save(tmp_path / "a.nii", values)
        rows = np.column_stack([np.array(linear, float), [0, 0, 0]])
        patch(path, 252, struct.pack("<hh", 0, 1))
        return patch(path, 280, struct.pack("<12f", *rows.ravel()))

    refuse(with_sform([[1, 0.2, 0], [0, 1, 0], [0, 0, 1]]), "sheared")
    refuse(with_sform([[1, 1, 0], [1, 1, 0], [0, 0, 1]]), "singular")
    refuse(with_sform([[1, 0, 0], [0, 1, 0], [0, 0, 0]]), "voxel spacing")
    assert read_image(with_sform([[0, 1, 0], [-1, 0, 0], [0, 0, 1]])).shape == (4, 5, 6)


@pytest.mark.parametrize("codes", [(1, 1), (4, 1), (0, 1), (2, 0), (0, 0)])
def test_a_mask_lies_on_the_grid_of_its_image(tmp_path: Path, values: np.ndarray, codes: tuple[int, int]) -> None:
    turn = np.array([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, -1]])
    affine = np.eye(4)
    affine[:3, :3] = turn * [1, 2, 3]
    affine[:3, 3] = 4, 5, 6
    source = nib.Nifti1Image(values, affine)
    source.header.set_sform(affine, codes[0])
    source.header.set_qform(affine, codes[1])
    nib.save(nib.Nifti1Image(values, None, source.header), tmp_path / "a.nii")
    image = read_image(tmp_path / "a.nii")
    mask = (values % 4).astype(np.uint8)
    path = write_mask(tmp_path / "deep" / "m.nii.gz", mask, image)
    written, original = nib.load(path), nib.load(tmp_path / "a.nii")
    np.testing.assert_allclose(written.affine, original.affine, atol=1e-5)
    assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == codes
    assert written.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(written.dataobj), mask)
    np.testing.assert_allclose(written.header.get_zooms(), original.header.get_zooms())
    first = path.read_bytes()
    assert write_mask(path, mask, image).read_bytes() == first
    assert [p.name for p in path.parent.iterdir()] == ["m.nii.gz"]


def test_label_maps_may_be_empty_and_must_fit(tmp_path: Path, values: np.ndarray) -> None:
    image = read_image(save(tmp_path / "a.nii", values))
    empty = read_labels(save(tmp_path / "m.nii", np.zeros((4, 5, 6), np.float32)), like=image)
    assert empty.array.dtype.kind == "i"
    with pytest.raises(UserError, match=r"4 x 5 x 5 pixels, its image .*a\.nii 4 x 5 x 6"):
        read_labels(save(tmp_path / "n.nii", np.zeros((4, 5, 5), np.uint8)), like=image)
    moved = AFFINE.copy()
    moved[0, 3] += 1
    with pytest.raises(UserError, match=r"1\.00 mm off"):
        read_labels(save(tmp_path / "o.nii", np.zeros((4, 5, 6), np.uint8), moved), like=image)
    with pytest.raises(UserError, match="not whole numbers"):
        read_labels(save(tmp_path / "p.nii", np.full((4, 5, 6), 0.5, np.float32)), like=image)
