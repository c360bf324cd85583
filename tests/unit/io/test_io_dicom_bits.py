"""Bits beyond those stored, enhanced images of one frame, palettes and colour spaces, on every path of the reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage, RLELossless, generate_uid

from medzoo.errors import UserError
from medzoo.io import read_image
from tests.unit.io.test_io_dicom import REAL, SHAPE, save, slices
from tests.unit.io.test_io_dicom_sources import enhanced, zipped

TRUE = np.random.default_rng(11).integers(0, 4096, SHAPE).astype(np.int32)


def packed(values: np.ndarray, *, signed: bool, high: int) -> np.ndarray:
    """12-bit values at `high` of 16 bits, with an overlay and other marks in the bits that are left."""
    raw = (values & 0xFFF).astype(np.uint32) << (high - 11)
    used = 0xFFF << (high - 11)
    marks = np.random.default_rng(12).integers(0, 1 << 16, values.shape).astype(np.uint32) & ~np.uint32(used)
    return (raw | marks & 0xFFFF).astype(np.uint16)


def twelve_bits(*, signed: bool, high: int) -> list[Dataset]:
    made = slices()
    for n, d in enumerate(made):
        d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 12, high, int(signed)
        del d.RescaleSlope, d.RescaleIntercept
        d.PixelData = packed(TRUE[:, :, n].T, signed=signed, high=high).tobytes()
    return made


def right(*, signed: bool) -> np.ndarray:
    return np.where(TRUE >= 2048, TRUE - 4096, TRUE) if signed else TRUE


CASES = [(False, 11), (True, 11), (False, 15), (True, 13)]


@pytest.mark.parametrize(("signed", "high"), CASES)
def test_only_the_bits_that_are_stored_are_read(tmp_path: Path, signed: bool, high: int) -> None:
    made, wanted = twelve_bits(signed=signed, high=high), right(signed=signed)
    folder = save(tmp_path / "ct", made)
    np.testing.assert_array_equal(read_image(folder).array[0], wanted)
    np.testing.assert_array_equal(read_image(zipped(folder, tmp_path / "ct.zip")).array[0], wanted)
    np.testing.assert_array_equal(read_image(made[2]).array[0], wanted[:, :, 2].T)
    one, order = enhanced(), [3, 0, 5, 1, 4, 2]
    one.BitsStored, one.HighBit, one.PixelRepresentation = 12, high, int(signed)
    one.PixelData = b"".join(made[n].PixelData for n in order)
    del one.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
    np.testing.assert_array_equal(read_image(one).array[0], wanted)


def test_bits_in_packed_and_rescaled_files(tmp_path: Path) -> None:
    made = twelve_bits(signed=True, high=11)
    for d in made:
        d.RescaleSlope, d.RescaleIntercept = 2, -10
    np.testing.assert_array_equal(read_image(save(tmp_path / "a", made)).array[0], right(signed=True) * 2.0 - 10)
    for d in made:
        d.compress(RLELossless)
    np.testing.assert_array_equal(read_image(save(tmp_path / "b", made)).array[0], right(signed=True) * 2.0 - 10)


@pytest.mark.parametrize(("bits", "high"), [(12, 9), (17, 15), (0, 11), (12, 16)])
def test_bits_that_cannot_be(tmp_path: Path, bits: int, high: int) -> None:
    made = twelve_bits(signed=False, high=11)
    for d in made:
        d.BitsStored, d.HighBit = bits, high
    with pytest.raises(UserError, match=r"bits up to bit|cannot be decoded"):
        read_image(save(tmp_path / "ct", made))


def one_frame_each() -> list[Dataset]:
    """The series as enhanced images of one frame, everything of a frame in functional groups, some of them shared."""
    made = slices()
    for number, d in enumerate(made):
        d.SOPClassUID = d.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
        d.Modality, d.NumberOfFrames = "MR", 1
        shared, frame = Dataset(), Dataset()
        turn, measures, scale, place, window = Dataset(), Dataset(), Dataset(), Dataset(), Dataset()
        turn.ImageOrientationPatient, measures.PixelSpacing = d.ImageOrientationPatient, d.PixelSpacing
        measures.SliceThickness = 2.5
        scale.RescaleSlope, scale.RescaleIntercept = d.RescaleSlope, d.RescaleIntercept
        place.ImagePositionPatient = d.ImagePositionPatient
        window.WindowCenter, window.WindowWidth = 40, 400
        shared.PlaneOrientationSequence, frame.PlanePositionSequence = [turn], [place]
        (shared if number % 2 else frame).PixelMeasuresSequence = [measures]
        (frame if number % 2 else shared).PixelValueTransformationSequence = [scale]
        (frame if number % 2 else shared).FrameVOILUTSequence = [window]
        d.SharedFunctionalGroupsSequence, d.PerFrameFunctionalGroupsSequence = [shared], [frame]
        for key in ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing"):
            delattr(d, key)
        del d.RescaleSlope, d.RescaleIntercept
    return made


def test_enhanced_images_of_one_frame(tmp_path: Path) -> None:
    plain = read_image(save(tmp_path / "plain", slices()))
    folder = save(tmp_path / "enhanced", one_frame_each())
    series = read_image(folder)
    np.testing.assert_array_equal(series.array, plain.array)
    np.testing.assert_allclose(series.affine, plain.affine, atol=1e-6)
    assert series.meta["window"] == (40.0, 400.0)
    for number in (1, 2):
        picture = read_image(one_frame_each()[number])
        assert picture.affine is None
        np.testing.assert_array_equal(picture.array[0], plain.array[0, :, :, number].T)
        volume = read_image(one_frame_each()[number], kind="volume")
        np.testing.assert_array_equal(volume.array[0, :, :, 0], plain.array[0, :, :, number])
        np.testing.assert_allclose(volume.affine[:3, 3], (plain.affine @ [0, 0, number, 1])[:3], atol=1e-4)


def test_a_mask_of_them_is_a_seg_that_refers_to_them(tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="highdicom (extra dicom) writes SEG")
    from medzoo.io.dicom.segmentation import write_segmentation

    made, study, frame = one_frame_each(), generate_uid(), generate_uid()
    for d in made:
        d.StudyInstanceUID, d.FrameOfReferenceUID, d.PatientID = study, frame, "1"
    image = read_image(save(tmp_path / "enhanced", made))
    mask = (image.array[0] > image.array.mean()).astype(np.uint8)
    path = write_segmentation(tmp_path / "a.dcm", mask, image, ("none", "tissue"), model="m", version="1")
    raw = path.read_bytes()
    assert EnhancedMRImageStorage.encode() in raw
    assert all(str(d.SOPInstanceUID).encode() in raw for d in made)


@pytest.mark.parametrize(
    ("name", "packed"),
    [("SC_ybr_full_422_uncompressed.dcm", False), ("SC_rgb_rle.dcm", False), ("SC_rgb_dcmtk_+eb+cy+s2.dcm", True),
     ("SC_rgb_dcmtk_+eb+cy+np.dcm", True), ("SC_rgb_dcmtk_+eb+cr.dcm", True)],
)  # fmt: skip
def test_colour_spaces_are_rgb(name: str, packed: bool) -> None:
    if packed:
        pytest.importorskip("libjpeg", reason="pylibjpeg-libjpeg (extra dicom) decodes JPEG")
    image = read_image(REAL / name)
    assert image.array.shape == (3, 100, 100)
    np.testing.assert_allclose(image.array[:, 5, 50], [255, 0, 0], atol=3)  # the first bar is red


def test_planes_of_colours_one_after_another() -> None:
    d = pydicom.dcmread(REAL / "SC_rgb_small_odd.dcm")
    array = d.pixel_array
    wanted = read_image(REAL / "SC_rgb_small_odd.dcm").array
    d.PlanarConfiguration = 1
    d.PixelData = np.ascontiguousarray(array.transpose(2, 0, 1)).tobytes() + b"\0"
    np.testing.assert_array_equal(read_image(d).array, wanted)
