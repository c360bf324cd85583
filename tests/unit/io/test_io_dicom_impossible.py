"""DICOM headers that cannot be true: refused by name, in place of a volume that looks like one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from medzoo.errors import UserError
from medzoo.io import read_image
from medzoo.io.dicom.facts import suvbw_factor
from tests.unit.io.test_io_dicom import save, slices
from tests.unit.io.test_io_dicom_suv import pet


def spacing(*values: float) -> Callable[[Dataset], None]:
    return lambda d: setattr(d, "PixelSpacing", list(values))


def turn(*values: float) -> Callable[[Dataset], None]:
    return lambda d: setattr(d, "ImageOrientationPatient", list(values))


def slope(value: float) -> Callable[[Dataset], None]:
    return lambda d: setattr(d, "RescaleSlope", value)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spacing(-1, 1), r"the Pixel Spacing of .+ is -1 x 1 mm"),
        (spacing(1, -0.5), r"the Pixel Spacing of .+ is 1 x -0.5 mm"),
        (spacing(0, 1), r"the Pixel Spacing of .+ is 0 x 1 mm"),
        (turn(0, 0, 0, 0, 0, 0), "is not two directions at a right angle"),
        (turn(2, 0, 0, 0, 2, 0), "is not two directions at a right angle"),
        (turn(1, 0, 0, 0.5, 0.87, 0), "is not two directions at a right angle"),
        (slope(0), "its rescale slope is 0"),
    ],
)
@pytest.mark.parametrize("several", [True, False])
def test_headers(tmp_path: Path, spoil: Callable[[Dataset], None], words: str, several: bool) -> None:
    made = slices()
    for d in made:
        spoil(d)
    folder = save(tmp_path / "ct", made)
    with pytest.raises(UserError, match=words) as caught:
        read_image(folder if several else next(folder.glob("*.dcm")), kind="volume")
    assert str(folder) in str(caught.value)  # the place is named


@pytest.mark.parametrize("frames", [2, 3, 5])
def test_more_frames_than_the_header_claims(tmp_path: Path, frames: int) -> None:
    one = slices()[0]
    one.PixelData = one.PixelData * frames
    one.save_as(tmp_path / "one.dcm", enforce_file_format=True)
    with pytest.raises(UserError, match=f"stores {frames} frames, its header claims one"):
        read_image(tmp_path / "one.dcm")
    one.PixelData = one.PixelData[: 2 * 30] + b"padding."
    assert read_image(one).array.shape == (1, 5, 6)[:1] + np.shape(one.pixel_array)


@pytest.mark.parametrize("time", ["235959", "120000", "200000"])
def test_an_injection_after_the_scan_is_not_taken_for_one_of_the_day_before(time: str) -> None:
    head = pet(SeriesTime="110000", AcquisitionTime="110000")
    head.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartTime = time
    with pytest.raises(ValueError, match="a later time than the scan, and no date"):
        suvbw_factor(head)


def test_a_scan_in_the_night_is(tmp_path: Path) -> None:
    head = pet(SeriesTime="003000", AcquisitionTime="003000")
    head.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartTime = "233000"
    same = pet(SeriesTime="110000", AcquisitionTime="110000")
    same.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartTime = "100000"
    assert suvbw_factor(head) == pytest.approx(suvbw_factor(same))
