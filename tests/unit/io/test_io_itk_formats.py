"""NRRD and MetaImage: what SimpleITK writes is read at the same place with the same values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medzoo.errors import UserError
from medzoo.io import read_image, read_labels

sitk = pytest.importorskip("SimpleITK", reason="SimpleITK (extra dev) writes the files of these tests")
RNG = np.random.default_rng(5)
TURN, _ = np.linalg.qr(RNG.normal(size=(3, 3)))


def written(path: Path, dtype: str, *, packed: bool) -> np.ndarray:
    """Voxel (i, j, k) values (4, 5, 6), oblique, anisotropic."""
    values = RNG.integers(1, 120, (4, 5, 6)).astype(dtype)
    image = sitk.GetImageFromArray(values.transpose(2, 1, 0))
    image.SetSpacing((0.7, 0.9, 2.5))
    image.SetOrigin((1, 2, 3))
    image.SetDirection(TURN.ravel().tolist())
    sitk.WriteImage(image, str(path), useCompression=packed)
    return values


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha", "a.mhd"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
def test_values_and_place(tmp_path: Path, name: str, packed: bool, dtype: str) -> None:
    values = written(tmp_path / name, dtype, packed=packed)
    image = read_image(tmp_path / name)
    assert image.array.dtype == dtype
    np.testing.assert_array_equal(image.array[0], values)
    for index in ((0, 0, 0), (3, 1, 5)):
        lps = TURN @ (np.array(index) * [0.7, 0.9, 2.5]) + [1, 2, 3]
        np.testing.assert_allclose((image.affine @ [*index, 1])[:3], lps * [-1, -1, 1], atol=1e-4)
    assert read_labels(tmp_path / name).shape == (4, 5, 6)


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_a_file_cut_short_or_that_claims_too_much(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    written(path, "int16", packed=True)
    whole = path.read_bytes()
    for length in (3, 40, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=name):
            read_image(path)
    old, new = (b"sizes: 4 5 6", b"sizes: 40000 50000 6") if name.endswith("nrrd") else (b"4 5 6", b"40000 50000 6")
    path.write_bytes(whole.replace(old, new))
    with pytest.raises(UserError, match=r"truncated or damaged|more than medzoo reads"):
        read_image(path)


def test_data_of_another_folder_is_not_read(tmp_path: Path) -> None:
    written(tmp_path / "a.mhd", "uint8", packed=False)
    text = (tmp_path / "a.mhd").read_text()
    (tmp_path / "a.mhd").write_text(text.replace("a.raw", "../a.raw"))
    with pytest.raises(UserError, match=r"stores its data in '../a.raw'"):
        read_image(tmp_path / "a.mhd")


@pytest.mark.parametrize("field", ["dimension", "sizes"])
def test_a_header_whose_numbers_are_none(tmp_path: Path, field: str) -> None:
    written(tmp_path / "a.nrrd", "uint8", packed=False)
    whole = (tmp_path / "a.nrrd").read_bytes()
    at = whole.index(field.encode() + b": ") + len(field) + 2
    (tmp_path / "a.nrrd").write_bytes(whole[:at] + b"x" + whole[at + 1 :])
    with pytest.raises(UserError, match=r"a\.nrrd: its header is damaged: dimension and sizes are not whole numbers"):
        read_image(tmp_path / "a.nrrd")
