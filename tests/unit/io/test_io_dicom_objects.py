"""DICOM objects that are no images are refused in one line that says what they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from medzoo.errors import UserError
from medzoo.io import read_image, read_labels


def ct() -> Dataset:
    return pydicom.dcmread(get_testdata_file("CT_small.dcm"))


@pytest.mark.parametrize(("keyword", "dtype"), [("FloatPixelData", np.float32), ("DoubleFloatPixelData", np.float64)])
def test_a_parametric_map_is_named(keyword: str, dtype: type, tmp_path: Path) -> None:
    dataset = ct()
    values = dataset.pixel_array.astype(dtype)
    for gone in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(dataset, gone)
    dataset.BitsAllocated = 8 * values.itemsize
    setattr(dataset, keyword, values.tobytes())
    dataset.save_as(tmp_path / "map.dcm")
    with pytest.raises(UserError, match=r"map\.dcm: is a parametric map: its values are floating point"):
        read_image(tmp_path / "map.dcm")


@pytest.mark.parametrize("segments", [2, 3, 5])
def test_a_segmentation_of_several_segments_is_named(segments: int, tmp_path: Path) -> None:
    dataset = ct()
    dataset.Modality = "SEG"
    dataset.SegmentSequence = [Dataset() for _ in range(segments)]
    dataset.save_as(tmp_path / "seg.dcm")
    with pytest.raises(UserError, match=r"seg\.dcm: is a DICOM segmentation of several segments, not an image"):
        read_image(tmp_path / "seg.dcm")


@pytest.mark.parametrize(
    ("uid", "modality", "words"),
    [
        ("1.2.840.10008.5.1.4.1.1.66.4", "SEG", "is a DICOM segmentation of one segment, not an image"),
        ("1.2.840.10008.5.1.4.1.1.66.7", "SEG", "is a DICOM segmentation of one segment, not an image"),
        ("1.2.3", "SEG", "is a DICOM segmentation of one segment, not an image"),
        ("1.2.840.10008.5.1.4.1.1.481.2", "RTDOSE", "is a radiotherapy dose, not an image"),
        ("1.2.3", "RTDOSE", "is a radiotherapy dose, not an image"),
        ("1.2.840.10008.5.1.4.1.1.30", "MR", "is a parametric map, not an image"),
    ],
)
def test_what_holds_pixels_and_is_no_image(uid: str, modality: str, words: str, tmp_path: Path) -> None:
    dataset = ct()
    dataset.SOPClassUID, dataset.Modality = uid, modality
    dataset.save_as(tmp_path / "one.dcm")
    for source in (tmp_path / "one.dcm", tmp_path, dataset):
        with pytest.raises(UserError, match=words):
            read_image(source)


def test_a_segmentation_of_one_segment_is_a_label_map(tmp_path: Path) -> None:
    dataset = ct()
    dataset.Modality, dataset.SegmentationType = "SEG", "BINARY"
    dataset.save_as(tmp_path / "seg.dcm")
    assert read_labels(tmp_path / "seg.dcm").array.shape == (1, 128, 128)
    dataset.SegmentationType = "FRACTIONAL"
    with pytest.raises(UserError, match="fractional"):
        read_labels(dataset)
    dataset.SegmentationType, dataset.SegmentSequence = "BINARY", [Dataset(), Dataset()]
    with pytest.raises(UserError, match="several segments"):
        read_labels(dataset)


@pytest.fixture
def loop(tmp_path: Path) -> Path:
    """Three frames without places, the values of each ten higher than those of the one before."""
    dataset = ct()
    values = np.stack([dataset.pixel_array // 16 + 10 * number for number in range(3)]).astype(np.int16)
    for gone in ("ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept"):
        delattr(dataset, gone)
    dataset.NumberOfFrames, dataset.PixelData = 3, values.tobytes()
    dataset.save_as(tmp_path / "loop.dcm")
    return tmp_path / "loop.dcm"


def test_a_frame_is_chosen_by_its_number(loop: Path) -> None:
    first, second, third = (read_image(f"{loop}#{number}") for number in range(3))
    np.testing.assert_array_equal(second.array, first.array + 10)
    np.testing.assert_array_equal(third.array, first.array + 20)
    assert third.affine is None
    assert third.meta["frame"] == 2


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", r"holds 3 frames without positions \(choose one of them, counted from 0: .*loop\.dcm#0\)"),
        ("#3", r"has no frame 3 \(it holds 3 frames, 0 to 2\)"),
        ("#-1", "'-1' is not a frame number"),
        ("#first", "'first' is not a frame number"),
    ],
)
def test_a_frame_that_is_not_there(loop: Path, name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        read_image(f"{loop}{name}")


def test_a_report_names_the_frame(loop: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    from medzoo.io.dicom.structured_report import write_report

    report = write_report(
        tmp_path / "sr.dcm", np.array([[1.0, 2, 30, 40]]), np.ones(1), ["lesion"], read_image(f"{loop}#1"),
        model="m", version="1",
    )  # fmt: skip
    named = [e.value for e in pydicom.dcmread(report).iterall() if e.keyword == "ReferencedFrameNumber"]
    assert named == [2]
