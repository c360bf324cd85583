"""DICOM objects that are no images are refused in one line that says what they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from medzoo.errors import UserError
from medzoo.io import read_image


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
