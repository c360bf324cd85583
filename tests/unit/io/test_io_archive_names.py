"""A zip archive is known by its bytes, whatever it is called."""

from __future__ import annotations

import gzip
import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medzoo.errors import UserError
from medzoo.io import read_image
from medzoo.io.dicom.source import source_headers
from medzoo.io.limits import Limits, limited

REAL = Path(pydicom.__file__).parent / "data" / "test_files"


def archive(path: Path, kind: int = zipfile.ZIP_DEFLATED) -> Path:
    """Three slices of one series."""
    with zipfile.ZipFile(path, "w", kind) as packed:
        for number in range(3):
            one = pydicom.dcmread(REAL / "CT_small.dcm")
            one.SOPInstanceUID = f"1.2.3.{number + 1}"
            one.ImagePositionPatient = [0, 0, 5 * number]
            buffer = io.BytesIO()
            one.save_as(buffer)
            packed.writestr(f"inside/{number}", buffer.getvalue())
    return path


NAMES = ("a.zip", "a.ZIP", "a.dcm", "a", "a.nii", "a.bin", "a!b.dcm", "scan.zip!x")


@pytest.mark.parametrize("name", NAMES)
def test_an_archive_of_any_name(tmp_path: Path, name: str) -> None:
    expected = read_image(archive(tmp_path / "expected.zip"))
    path = archive(tmp_path / name)
    image = read_image(path)
    np.testing.assert_array_equal(image.array, expected.array)
    np.testing.assert_array_equal(image.affine, expected.affine)
    assert [str(head.SOPInstanceUID) for head in source_headers(image)] == ["1.2.3.1", "1.2.3.2", "1.2.3.3"]


def test_an_archive_in_a_folder_with_its_mark(tmp_path: Path) -> None:
    folder = tmp_path / "odd.zip!folder"
    folder.mkdir()
    assert len(source_headers(read_image(archive(folder / "a.zip")))) == 3


@pytest.mark.parametrize("name", ["a.zip", "a.dcm", "a"])
@pytest.mark.parametrize("left", [100, 0.5, -10])
def test_a_truncated_archive_is_named(tmp_path: Path, name: str, left: float) -> None:
    path = archive(tmp_path / name)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(left * len(whole)) if 0 < left < 1 else int(left)])
    with pytest.raises(UserError, match=rf"{name}: is a truncated, damaged or unreadable archive"):
        read_image(path)


def test_the_directory_of_an_archive_is_measured_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for number in range(40):
            packed.writestr(f"{number:0200}", b"")
    with limited(Limits(archive_entries=5)), pytest.raises(UserError, match=r"a\.zip: holds more files .*at most 5"):
        read_image(path)
    with limited(Limits(archive_entries=20)), pytest.raises(UserError, match=r"a\.zip: holds 40 files, .*at most 20"):
        read_image(path)
    with pytest.raises(UserError, match="holds no DICOM images"):
        read_image(path)


@pytest.mark.parametrize("name", ["a.dcm.gz", "a.dcm", "a"])
def test_a_packed_dicom_file_is_named_as_such(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress((REAL / "CT_small.dcm").read_bytes()))
    with pytest.raises(UserError, match=rf"{name}: is a gzip file that holds dicom \(unpack it first: gunzip\)"):
        read_image(tmp_path / name)


@pytest.mark.parametrize(
    ("form", "words"), [("tar", "a tar archive"), ("gztar", "a tar archive"), ("xztar", "an xz file")]
)
def test_other_archives_are_named(tmp_path: Path, form: str, words: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    shutil.copy(REAL / "CT_small.dcm", inside / "x.dcm")
    made = Path(shutil.make_archive(str(tmp_path / "a"), form, inside))
    for path in (made, shutil.copy(made, tmp_path / "a.dcm"), shutil.copy(made, tmp_path / "a")):
        with pytest.raises(UserError, match=rf"{Path(path).name}: is {words}"):
            read_image(path)
