"""Files that belong to a series and cannot be read are named, whatever is wrong with them; others are passed over."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from medzoo.errors import UserError
from medzoo.io import read_image
from tests.unit.io.test_io_dicom import REAL, SHAPE, slices
from tests.unit.io.test_io_dicom_sources import zipped


def saved(folder: Path, suffix: str = ".dcm") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, dataset in enumerate(slices()):
        dataset.save_as(folder / f"im{number}{suffix}", enforce_file_format=True)
    return folder


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def cut_in_header(path: Path) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: raw.index(b"\x28\x00\x10\x00US")])  # in front of Rows


def cut_after_mark(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:132])


def page(path: Path) -> None:
    path.write_text("<html>not found</html>")


@pytest.mark.parametrize("suffix", [".dcm", "", ".12", ".MR"])
@pytest.mark.parametrize("spoil", [empty, zeros, cut_in_header, cut_after_mark])
def test_what_cannot_be_read_is_named(tmp_path: Path, spoil: Callable[[Path], None], suffix: str) -> None:
    folder = saved(tmp_path / "ct", suffix)
    spoil(folder / f"im5{suffix}")
    for source in (folder, zipped(folder, tmp_path / "ct.zip")):
        with pytest.raises(UserError, match="1 of its files cannot be read: im5") as caught:
            read_image(source)
        assert str(source) in str(caught.value)


def test_a_page_in_the_place_of_a_slice(tmp_path: Path) -> None:
    folder = saved(tmp_path / "ct")
    for number in range(6):
        page(folder / f"im{number}.dcm")
    with pytest.raises(UserError, match=r"6 of its files cannot be read: im0.dcm holds no DICOM; .*and 1 more"):
        read_image(folder)


def test_files_without_a_mark_are_read(tmp_path: Path) -> None:
    folder = saved(tmp_path / "ct")
    for number in (1, 4):
        path = folder / f"im{number}.dcm"
        raw = path.read_bytes()
        at = raw.index(b"\x08\x00\x16\x00")
        path.write_bytes(raw[at:])  # neither preamble nor file meta information
    assert read_image(folder).shape == SHAPE


def test_what_is_no_image_is_passed_over(tmp_path: Path) -> None:
    folder = saved(tmp_path / "ct", "")
    (folder / "README").write_text("Which series this is.\n")
    (folder / "notes.txt").write_text("")
    (folder / "._im1").write_bytes(b"\0\5\x16\7")
    shutil.copy(REAL / "test-SR.dcm", folder / "report.dcm")
    shutil.copy(REAL / "rtplan.dcm", folder / "plan.dcm")
    assert read_image(folder).shape == SHAPE


def test_a_broken_file_of_another_series_is_not_in_the_way(tmp_path: Path) -> None:
    folder = saved(tmp_path / "ct")
    other = slices()[0]
    other.SeriesInstanceUID, other.SeriesDescription = generate_uid(), "scout"
    other.save_as(folder / "scout.dcm", enforce_file_format=True)
    broken = slices()[1]
    broken.SeriesInstanceUID = other.SeriesInstanceUID
    broken.save_as(folder / "broken.dcm", enforce_file_format=True)
    cut_in_header_after_series(folder / "broken.dcm")
    assert read_image(f"{folder}#thorax").shape == SHAPE
    with pytest.raises(UserError, match=r"broken.dcm is truncated"):
        read_image(f"{folder}#scout")


def cut_in_header_after_series(path: Path) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: raw.index(b"\x28\x00\x02\x00US")])


def test_one_slice_is_no_volume(tmp_path: Path) -> None:
    folder = saved(tmp_path / "ct")
    for number in range(1, 6):
        (folder / f"im{number}.dcm").unlink()
    for source in (folder, zipped(folder, tmp_path / "ct.zip")):
        assert read_image(source).affine is None
        with pytest.raises(UserError, match=r"is a single slice, not a volume .give the folder with all slices"):
            read_image(source, kind="volume")
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as archive:
        archive.writestr("a.txt", "nothing")
    with pytest.raises(UserError, match="holds no DICOM images"):
        read_image(tmp_path / "none.zip")
