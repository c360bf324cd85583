"""DICOM SEG of series whose headers lack Slice Thickness: it is the distance of the slices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from medzoo.io import read_image
from tests.unit.io.test_io_dicom import SPACING, save, slices
from tests.unit.io.test_io_dicom_sources import enhanced

pytest.importorskip("highdicom")


def absent(d: Dataset) -> None:
    """Slices that never had one."""


def empty(d: Dataset) -> None:
    d.SliceThickness = None


def zero(d: Dataset) -> None:
    d.SliceThickness = 0


def negative(d: Dataset) -> None:
    d.SliceThickness = "-2.5"


def thickness(path: Path, folder: Path) -> float | None:
    from medzoo.io.dicom.segmentation import write_segmentation

    image = read_image(path)
    mask = (image.array[0] > image.array.mean()).astype(np.uint8)
    made = write_segmentation(folder / "seg.dcm", mask, image, ("none", "tissue"), model="m", version="1")
    (measures,) = pydicom.dcmread(made).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    return measures.get("SliceThickness")


@pytest.mark.parametrize("spoil", [absent, empty, zero, negative])
def test_a_series(tmp_path: Path, spoil: Callable[[Dataset], None]) -> None:
    made = slices()
    study, frame = generate_uid(), generate_uid()
    for d in made:
        d.StudyInstanceUID, d.FrameOfReferenceUID, d.PatientID = study, frame, "1"
        spoil(d)
    assert thickness(save(tmp_path / "ct", made), tmp_path) == pytest.approx(SPACING[2], abs=1e-4)


def test_frames_of_one_file(tmp_path: Path) -> None:
    one = enhanced()
    one.StudyInstanceUID, one.FrameOfReferenceUID, one.PatientID = generate_uid(), generate_uid(), "1"
    one.save_as(tmp_path / "one.dcm", enforce_file_format=True)
    assert thickness(tmp_path / "one.dcm", tmp_path) == pytest.approx(SPACING[2], abs=1e-4)


def test_of_a_picture_nothing_is_invented(tmp_path: Path) -> None:
    one = slices()[0]
    one.StudyInstanceUID, one.FrameOfReferenceUID, one.PatientID = generate_uid(), generate_uid(), "1"
    one.save_as(tmp_path / "one.dcm", enforce_file_format=True)
    assert thickness(tmp_path / "one.dcm", tmp_path) is None


def test_a_stated_one_is_kept(tmp_path: Path) -> None:
    made = slices()
    study, frame = generate_uid(), generate_uid()
    for d in made:
        d.StudyInstanceUID, d.FrameOfReferenceUID, d.PatientID, d.SliceThickness = study, frame, "1", 5
    assert thickness(save(tmp_path / "ct", made), tmp_path) == 5
