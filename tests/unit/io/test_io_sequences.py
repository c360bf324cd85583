"""Several sequences of one scan as one input: joined by commas, or along a fourth axis."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo.errors import OffGridError, UserError
from medzoo.io import read_image, read_labels, to_channels
from medzoo.io.sequences import read_sequences, sequence_files
from medzoo.types import Image

AFFINE = np.array([[-1.5, 0, 0, 30], [0, 2, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1]], float)
VALUES = np.random.default_rng(0).integers(1, 900, (2, 4, 5, 6)).astype(np.int16)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    for name, array in zip(("t1", "flair"), VALUES, strict=True):
        nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / f"{name}.nii.gz")
    nib.save(nib.Nifti1Image(np.moveaxis(VALUES, 0, -1), AFFINE), tmp_path / "both.nii.gz")
    return [str(tmp_path / f"{name}.nii.gz") for name in ("t1", "flair", "both")]


def test_joined_files_and_a_fourth_axis_are_the_same_channels(files: list[str]) -> None:
    t1, flair, both = files
    for source in (f"{t1},{flair}", both, Path(both), nib.load(both)):
        image = read_sequences(source, 2)
        np.testing.assert_array_equal(image.array, VALUES)
        np.testing.assert_allclose(image.affine, AFFINE, atol=1e-6)
        assert image.source == (str(source) if isinstance(source, str | Path) else both)
    np.testing.assert_array_equal(read_sequences(f"{flair},{t1}", 2).array, VALUES[::-1])


def test_a_name_with_a_comma_that_is_there_is_one_file(tmp_path: Path, files: list[str]) -> None:
    odd = tmp_path / "t1,flair.nii.gz"
    odd.write_bytes(Path(files[0]).read_bytes())
    assert sequence_files(str(odd)) == [str(odd)]
    assert sequence_files(f"{files[0]},{files[1]}") == files[:2]
    np.testing.assert_array_equal(read_sequences(str(odd), 2).array[0], VALUES[0])


def test_what_does_not_belong_together_is_named(tmp_path: Path, files: list[str]) -> None:
    t1, flair, both = files
    moved = AFFINE.copy()
    moved[0, 3] += 1
    nib.save(nib.Nifti1Image(VALUES[1], moved), tmp_path / "moved.nii.gz")
    with pytest.raises(OffGridError, match=r"moved\.nii\.gz: is on a different grid than .*t1\.nii\.gz"):
        read_sequences(f"{t1},{tmp_path / 'moved.nii.gz'}", 2)
    for source, count, words in (
        (f"{t1},{flair}", 3, "names 2 sequences, but the model takes 3"),
        (both, 3, r"both\.nii\.gz: has the shape 4 x 5 x 6 x 2; expected 3 sequences"),
        (f"{t1},{tmp_path / 'absent.nii.gz'}", 2, r"absent\.nii\.gz: no such file"),
        (f"{t1},", 2, "has a comma without a file on one side"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            read_sequences(source, count)
        assert "\n" not in str(caught.value)


def test_no_sequence_stands_for_another(files: list[str]) -> None:
    for image, channels in ((read_sequences(files[0], 2), 2), (read_sequences(files[2], 2), 1), (
        Image(np.ones((3, 4, 5, 6)), np.eye(4), "made"), 1)):  # fmt: skip
        with pytest.raises(UserError, match=rf"holds \d sequences?, but the model takes {channels}"):
            to_channels(image, channels)


def test_a_picture_is_read_as_ever(tmp_path: Path) -> None:
    Pillow.fromarray(VALUES[0, 0].astype(np.uint8)).save(tmp_path / "a.png")
    assert to_channels(read_sequences(tmp_path / "a.png", 3), 3).array.shape == (3, 5, 6)


@pytest.mark.parametrize(
    "change",
    [
        np.diag([1.0, 1, 1.1, 1]),
        np.array([[0, 1.0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
        np.array([[1, -0.005, 0, 0], [0.005, 1.0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    ],
    ids=["scaled", "first-axes-swapped", "turned"],
)
def test_a_grid_is_another_one_if_any_corner_is_elsewhere(tmp_path: Path, change: np.ndarray) -> None:
    values = np.arange(40 * 40 * 3, dtype=np.int16).reshape(40, 40, 3) % 7
    near = np.eye(4)
    near[0, 3] = 0.05
    for name, affine in (("a", np.eye(4)), ("near", near), ("far", change)):
        nib.save(nib.Nifti1Image(values, affine), tmp_path / f"{name}.nii")
    first = read_image(tmp_path / "a.nii")
    assert read_sequences(f"{tmp_path / 'a.nii'},{tmp_path / 'near.nii'}", 2).array.shape == (2, 40, 40, 3)
    assert read_labels(tmp_path / "near.nii", like=first).array.shape == (1, 40, 40, 3)
    with pytest.raises(OffGridError, match=r"far\.nii: is on a different grid"):
        read_sequences(f"{tmp_path / 'a.nii'},{tmp_path / 'far.nii'}", 2)
    with pytest.raises(OffGridError, match=r"far\.nii: is \d+\.\d\d mm off the grid"):
        read_labels(tmp_path / "far.nii", like=first)
