"""DICOM files and series: values, place in space, and the series that are no straight volume."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from medzoo.errors import UserError
from medzoo.io import read_image

REAL = Path(pydicom.__file__).parent / "data" / "test_files"
SHAPE = (4, 5, 6)  # columns, rows, slices
RNG = np.random.default_rng(7)
VALUES = RNG.integers(0, 3000, SHAPE).astype(np.int16)
TURN, _ = np.linalg.qr(RNG.normal(size=(3, 3)))
TURN *= np.linalg.det(TURN)
SPACING = (0.7, 0.9, 2.5)


def slices(*, orientation: np.ndarray = TURN) -> list[Dataset]:
    """A series with voxel (c, r, s), in LPS, at orientation @ (c * 0.7, r * 0.9, s * 2.5) + (1, 2, 3)."""
    series = generate_uid()
    made = []
    for s in range(SHAPE[2]):
        d = Dataset()
        d.file_meta = FileMetaDataset()
        d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        d.SOPClassUID, d.SOPInstanceUID, d.SeriesInstanceUID = CTImageStorage, generate_uid(), series
        d.Modality, d.PatientName, d.SeriesDescription = "CT", "Doe^Jane", "thorax"
        d.Rows, d.Columns = SHAPE[1], SHAPE[0]
        d.PixelSpacing = [SPACING[1], SPACING[0]]
        d.ImageOrientationPatient = [round(float(v), 7) for v in (*orientation[:, 0], *orientation[:, 1])]
        d.ImagePositionPatient = [round(float(v), 5) for v in orientation[:, 2] * SPACING[2] * s + [1, 2, 3]]
        d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
        d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 16, 15, 1
        d.RescaleSlope, d.RescaleIntercept = 2, -1024
        d.PixelData = VALUES[:, :, s].T.tobytes()
        made.append(d)
    return made


def save(folder: Path, made: list[Dataset]) -> Path:
    """Files named in no order that has to do with their place."""
    folder.mkdir(exist_ok=True)
    for n, d in enumerate(made):
        d.save_as(folder / f"{(n * 5) % 7}{n}.dcm", enforce_file_format=True)
    (folder / "README.txt").write_text("not an image")
    return folder


def test_a_series_lies_where_its_headers_say(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "ct", slices()))
    assert image.array.shape == (1, *SHAPE)
    np.testing.assert_allclose(image.array[0], VALUES * 2.0 - 1024)
    for index in ((0, 0, 0), (3, 1, 5), (2, 4, 1)):
        lps = TURN @ (np.array(index) * SPACING) + [1, 2, 3]
        ras = image.affine @ [*index, 1]
        np.testing.assert_allclose(ras[:3], lps * [-1, -1, 1], atol=1e-4)
    assert "Doe" not in repr(image.meta)
    assert len(image.meta["files"]) == SHAPE[2]


def test_slices_run_along_the_normal_whatever_their_numbers(tmp_path: Path) -> None:
    made = slices()
    np.testing.assert_array_equal(
        read_image(save(tmp_path / "a", made)).array, read_image(save(tmp_path / "b", made[::-1])).array
    )


def drop(made: list[Dataset]) -> None:
    del made[2]


def twice(made: list[Dataset]) -> None:
    made[3].ImagePositionPatient = made[2].ImagePositionPatient


def uneven(made: list[Dataset]) -> None:
    made[3].ImagePositionPatient = [
        float(p) + float(v) for p, v in zip(made[3].ImagePositionPatient, TURN[:, 2] * 0.4, strict=True)
    ]


def turned(made: list[Dataset]) -> None:
    made[3].ImageOrientationPatient = [1, 0, 0, 0, 1, 0]


def tilted(made: list[Dataset]) -> None:
    for n, d in enumerate(made):
        d.ImagePositionPatient = [
            float(p) + n * float(v) for p, v in zip(d.ImagePositionPatient, TURN[:, 1] * 0.5, strict=True)
        ]


def other_series(made: list[Dataset]) -> None:
    made[0].SeriesInstanceUID, made[0].SeriesDescription = generate_uid(), "scout"


def placeless(made: list[Dataset]) -> None:
    del made[4].ImagePositionPatient


def sizes(made: list[Dataset]) -> None:
    made[1].PixelSpacing = [2, 2]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (drop, "1 of its slices are missing"),
        (twice, "two slices have the same position"),
        (uneven, "unevenly spaced"),
        (turned, "differ in orientation"),
        (tilted, "tilted by 11.3 degrees"),
        (other_series, "CT scout: 1 images; CT thorax: 5 images|CT thorax: 5 images; CT scout: 1 images"),
        (placeless, "ImagePositionPatient missing"),
        (sizes, "differ in size or pixel spacing"),
    ],
)
def test_what_is_no_straight_volume_is_refused(
    tmp_path: Path, spoil: Callable[[list[Dataset]], None], words: str
) -> None:
    made = slices()
    spoil(made)
    folder = save(tmp_path / "ct", made)
    with pytest.raises(UserError, match=words) as caught:
        read_image(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_monochrome1_is_turned_over() -> None:
    plain, negative = slices()[0], slices()[0]
    for d in (plain, negative):
        d.PixelRepresentation, d.BitsStored, d.HighBit = 0, 12, 11
        del d.RescaleSlope, d.RescaleIntercept
    negative.PhotometricInterpretation = "MONOCHROME1"
    a, b = read_image(plain), read_image(negative)
    assert a.affine is None
    assert a.array.shape == (1, SHAPE[1], SHAPE[0])
    assert b.array.dtype == a.array.dtype
    np.testing.assert_array_equal(b.array.astype(int), 4095 - a.array.astype(int))


def test_one_slice_as_a_volume() -> None:
    image = read_image(slices()[3], kind="volume")
    assert image.shape == (4, 5, 1)
    np.testing.assert_allclose(image.affine[:3, 3], (TURN[:, 2] * 7.5 + [1, 2, 3]) * [-1, -1, 1], atol=1e-4)


def test_real_files() -> None:
    ct = read_image(REAL / "CT_small.dcm")
    dataset = pydicom.dcmread(REAL / "CT_small.dcm")
    np.testing.assert_allclose(ct.array[0], dataset.pixel_array * 1.0 + float(dataset.RescaleIntercept))
    assert read_image(dataset).array.tobytes() == ct.array.tobytes()
    assert read_image(REAL / "SC_rgb_small_odd.dcm").array.shape == (3, 3, 3)
    palette = read_image(REAL / "examples_palette.dcm")
    assert palette.array.shape[0] == 3


@pytest.mark.parametrize("name", ["rtplan.dcm", "test-SR.dcm", "SC_rgb_rle_2frame.dcm"])
def test_real_files_that_hold_no_single_picture(name: str) -> None:
    with pytest.raises(UserError, match=f"{name}: (is not a DICOM image|holds 2 frames)"):
        read_image(REAL / name)


def test_a_file_cut_short(tmp_path: Path) -> None:
    data = (REAL / "CT_small.dcm").read_bytes()
    for length in (10, 140, 700, len(data) // 2):
        path = tmp_path / "cut.dcm"
        path.write_bytes(data[:length])
        with pytest.raises(UserError) as caught:
            read_image(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
