"""The size of a pixel that a DICOM picture states."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from medzoo.io.dicom.picture_spacing import picture_spacing, stretch_note


def region(dx: float, dy: float, unit: int = 3) -> Dataset:
    one = Dataset()
    one.PhysicalUnitsXDirection = one.PhysicalUnitsYDirection = unit
    one.PhysicalDeltaX, one.PhysicalDeltaY = dx, dy
    return one


@pytest.mark.parametrize(
    ("regions", "expected"),
    [
        ([region(0.02, 0.01)], (0.1, 0.2)),
        ([region(0.02, -0.01)], (0.1, 0.2)),
        ([region(0.02, 0.01), region(0.5, 1.0, unit=4)], (0.1, 0.2)),  # a Doppler trace has no lengths
        ([region(0.02, 0.01), region(0.03, 0.01)], None),
        ([region(0.0, 0.01)], None),
        ([region(0.5, 1.0, unit=4)], None),
    ],
)
def test_ultrasound_is_measured_by_its_calibration(
    regions: list[Dataset], expected: tuple[float, float] | None
) -> None:
    head = Dataset()
    head.SequenceOfUltrasoundRegions = regions
    assert picture_spacing(head) == (None if expected is None else pytest.approx(expected))


def test_pixel_spacing_is_taken_and_that_of_the_detector_is_not() -> None:
    head = Dataset()
    assert picture_spacing(head) is None
    head.ImagerPixelSpacing = [0.1, 0.1]
    assert picture_spacing(head) is None
    head.PixelSpacing = [0.5, 0.25]
    assert picture_spacing(head) == (0.5, 0.25)


@pytest.mark.parametrize(
    ("fields", "times"),
    [
        ({"PixelSpacing": [0.4, 0.2]}, "2"),
        ({"PixelAspectRatio": [1, 2]}, "0.5"),
        ({"SequenceOfUltrasoundRegions": [region(0.02, 0.01)]}, "0.5"),
        ({"PixelSpacing": [0.2, 0.2001], "PixelAspectRatio": [1, 2]}, None),
        ({"PixelAspectRatio": [1, 1]}, None),
        ({"PixelAspectRatio": [0, 1]}, None),
        ({}, None),
    ],
)
def test_pixels_that_are_not_square_are_noted(fields: dict[str, object], times: str | None) -> None:
    head = Dataset()
    for name, value in fields.items():
        setattr(head, name, value)
    note = stretch_note(head, picture_spacing(head))
    assert note is None if times is None else (note or "").startswith(f"its pixels are {times} times as high as wide")
