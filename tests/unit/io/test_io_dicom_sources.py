"""DICOM beyond a folder of files: archives, several series, frames of one file, compressed pixels, facts."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from medzoo.errors import UserError
from medzoo.io import read_image
from medzoo.io.dicom.facts import header_facts, suvbw_factor
from tests.unit.io.test_io_dicom import REAL, save, slices


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.iterdir():
            archive.write(file, f"study/{file.name}")
    return path


def test_an_archive_is_read_as_its_folder(tmp_path: Path) -> None:
    folder = save(tmp_path / "ct", slices())
    one, other = read_image(folder), read_image(zipped(folder, tmp_path / "ct.zip"))
    np.testing.assert_array_equal(one.array, other.array)
    np.testing.assert_array_equal(one.affine, other.affine)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ct", "ct.zip"]


def test_a_bomb_and_a_broken_archive(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", b"\0" * 1000)
    data = bytearray(bomb.read_bytes())
    for mark, at in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        place = data.find(mark) + at
        data[place : place + 4] = (0xF0000000).to_bytes(4, "little")
    bomb.write_bytes(data)
    with pytest.raises(UserError, match=r"would unpack to 4\.0 GB"):
        read_image(bomb)
    bomb.write_bytes(b"PK\x03\x04" + b"\x55" * 400)
    with pytest.raises(UserError, match="damaged or unreadable archive"):
        read_image(bomb)


def test_one_of_several_series_is_named(tmp_path: Path) -> None:
    first, second = slices(), slices()
    for d in second:
        d.SeriesDescription, d.SeriesNumber = "T1 axial", 7
        d.RescaleIntercept = 0
    save(tmp_path / "ct", first)
    save(tmp_path / "ct" / "more", second)
    with pytest.raises(UserError, match=r"holds 2 series: .*CT thorax: 6 images.*FOLDER#NAME"):
        read_image(tmp_path / "ct")
    for name in ("t1 axial", "7", str(second[0].SeriesInstanceUID)[-9:]):
        assert read_image(f"{tmp_path / 'ct'}#{name}").array.min() >= 0
    with pytest.raises(UserError, match="none of its series is called 'T2'"):
        read_image(f"{tmp_path / 'ct'}#T2")


def enhanced() -> Dataset:
    """The series of `slices` as one enhanced CT, frames in another order."""
    made = slices()
    one = made[0].copy()
    one.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    order = [3, 0, 5, 1, 4, 2]
    one.NumberOfFrames = len(order)
    one.PixelData = b"".join(made[n].PixelData for n in order)
    shared, frames = Dataset(), []
    turn, measures, scale = Dataset(), Dataset(), Dataset()
    turn.ImageOrientationPatient = one.ImageOrientationPatient
    measures.PixelSpacing = one.PixelSpacing
    scale.RescaleSlope, scale.RescaleIntercept = 2, -1024
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [turn], [measures]
    shared.PixelValueTransformationSequence = [scale]
    for n in order:
        frame, place = Dataset(), Dataset()
        place.ImagePositionPatient = made[n].ImagePositionPatient
        frame.PlanePositionSequence = [place]
        frames.append(frame)
    one.SharedFunctionalGroupsSequence, one.PerFrameFunctionalGroupsSequence = [shared], frames
    for key in ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"):
        delattr(one, key)
    return one


def test_frames_that_say_where_they_lie_are_a_volume(tmp_path: Path) -> None:
    enhanced().save_as(tmp_path / "one.dcm", enforce_file_format=True)
    image, series = read_image(tmp_path / "one.dcm"), read_image(save(tmp_path / "ct", slices()))
    np.testing.assert_array_equal(image.array, series.array)
    np.testing.assert_allclose(image.affine, series.affine, atol=1e-5)


def test_negative_frames_are_turned_over(tmp_path: Path) -> None:
    positive, negative = enhanced(), enhanced()
    negative.PhotometricInterpretation = "MONOCHROME1"
    positive.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    negative.save_as(tmp_path / "b.dcm", enforce_file_format=True)
    a, b = read_image(tmp_path / "a.dcm"), read_image(tmp_path / "b.dcm")
    stored = (a.array + 1024) / 2  # 16 bits with a sign: -32768 and 32767 change places
    np.testing.assert_array_equal(b.array, (-1 - stored) * 2 - 1024)


@pytest.mark.parametrize(
    ("name", "package"),
    [("JPEG2000.dcm", "openjpeg"), ("SC_rgb_jpeg_gdcm.dcm", "libjpeg"), ("MR_small_RLE.dcm", None),
     ("MR_small_jpeg_ls_lossless.dcm", "libjpeg"), ("JPGExtended.dcm", "libjpeg"), ("SC_rgb_jpeg.dcm", "libjpeg"),
     ("JPEGLSNearLossless_16.dcm", "libjpeg"), ("693_J2KI.dcm", "openjpeg"), ("SC_rgb_rle_16bit.dcm", None)],
)  # fmt: skip
def test_compressed_pixels(name: str, package: str | None) -> None:
    if package:
        pytest.importorskip(package, reason=f"pylibjpeg-{package} (extra dicom) decodes {name}")
    assert read_image(REAL / name).array.std() > 0


def test_lossless_compression_changes_nothing() -> None:
    pytest.importorskip("openjpeg", reason="pylibjpeg-openjpeg (extra dicom)")
    plain = read_image(REAL / "MR_small.dcm").array
    np.testing.assert_array_equal(plain, read_image(REAL / "MR_small_RLE.dcm").array)
    np.testing.assert_array_equal(plain, read_image(REAL / "MR_small_jpeg_ls_lossless.dcm").array)


def test_a_header_that_claims_more_than_is_stored(tmp_path: Path) -> None:
    d = pydicom.dcmread(REAL / "MR_small_RLE.dcm")
    d.Rows = d.Columns = 20000
    d.save_as(tmp_path / "a.dcm")
    with pytest.raises(UserError, match=r"claims 20000 x 20000 pixels, \d+ bytes are stored"):
        read_image(tmp_path / "a.dcm")


def pet() -> Dataset:
    d, drug = Dataset(), Dataset()
    d.Modality, d.Units, d.DecayCorrection, d.PatientWeight = "PT", "BQML", "START", 70.0
    d.SeriesDate, d.SeriesTime = "20240102", "101500.5"
    drug.RadionuclideTotalDose, drug.RadionuclideHalfLife = 370e6, 6586.2
    drug.RadiopharmaceuticalStartTime = "091500.5"
    d.RadiopharmaceuticalInformationSequence = [drug]
    return d


def test_suv_of_a_pet_is_decay_corrected() -> None:
    expected = 70_000 / (370e6 * 2 ** (-3600 / 6586.2))
    assert suvbw_factor(pet()) == pytest.approx(expected, rel=1e-12)
    admin = pet()
    admin.DecayCorrection = "ADMIN"
    assert suvbw_factor(admin) == pytest.approx(70_000 / 370e6)
    stamped = pet()
    stamped.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartDateTime = "20240101231500.5"
    assert suvbw_factor(stamped) == pytest.approx(70_000 / (370e6 * 2 ** (-11 * 3600 / 6586.2)))
    midnight = pet()
    midnight.SeriesTime = "001500.5"
    midnight.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartTime = "231500.5"
    assert suvbw_factor(midnight) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [("PatientWeight", None, "weight"), ("Units", "CNTS", "units are CNTS"), ("DecayCorrection", "NONE", "NONE")],
)
def test_what_a_pet_header_lacks_is_named(key: str, value: object, words: str) -> None:
    d = pet()
    setattr(d, key, value)
    facts = header_facts(d)
    assert "suvbw" not in facts
    assert words in facts["suvbw_lacks"]


def test_the_window_of_the_header() -> None:
    d = Dataset()
    d.WindowCenter, d.WindowWidth = [40, 600], [400, 1500]
    assert header_facts(d)["window"] == (40.0, 400.0)
    assert "window" not in header_facts(Dataset())
