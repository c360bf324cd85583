"""DICOM SEG and RTSTRUCT as labels, paired by UIDs; LUNA16's centres; nnU-Net's regions and ignored voxels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Pillow
from pydicom.dataset import Dataset as Dicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from medzoo import registry
from medzoo.data.dataset import Dataset, Objects
from medzoo.errors import UserError
from medzoo.io import read_image
from medzoo.io.dicom.segmentation import write_segmentation
from medzoo.metrics.segment import SegmentScores

CASES = Path(__file__).parents[4] / "shared" / "cases" / "dicom-objects"
SHAPE = (20, 16, 5)  # columns, rows, slices
RING = [((2, 2), (12, 2), (12, 10), (2, 10)), ((5, 4), (9, 4), (9, 8), (5, 8))]


def opened(kind: str, root: Path, labels: list[str], task: str = "segment", **params: Any) -> Dataset:
    entry = registry.entry("data", kind)
    data: Dataset = entry.open(entry.params(root=root, **params), task, labels)
    return data


def turned() -> tuple[np.ndarray, np.ndarray]:
    """Directions of a row and of a column of an oblique series."""
    c, s = np.cos(0.4), np.sin(0.4)
    row = np.array([c, s * np.cos(0.3), s * np.sin(0.3)])
    column = np.array([-s, c * np.cos(0.3), c * np.sin(0.3)])
    return row, column


def series(folder: Path, *, oblique: bool = True) -> dict[str, str]:
    """A CT of SHAPE; its UIDs."""
    folder.mkdir(parents=True)
    row, column = turned() if oblique else (np.array([1.0, 0, 0]), np.array([0, 1.0, 0]))
    uids = {name: str(generate_uid()) for name in ("series", "study", "frame")}
    for k in range(SHAPE[2]):
        one = Dicom()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.SOPClassUID, one.SOPInstanceUID, one.Modality = CTImageStorage, generate_uid(), "CT"
        one.SeriesInstanceUID, one.StudyInstanceUID = uids["series"], uids["study"]
        one.FrameOfReferenceUID, one.PatientID, one.PatientName = uids["frame"], "12345", "Nobody^Here"
        one.PatientBirthDate, one.PatientSex, one.StudyDate, one.StudyTime = "", "O", "20200101", "000000"
        one.StudyID, one.AccessionNumber, one.ReferringPhysicianName, one.InstanceNumber = "1", "", "", k + 1
        one.SeriesNumber = 1
        one.Rows, one.Columns, one.PixelSpacing, one.SliceThickness = SHAPE[1], SHAPE[0], [1.5, 0.75], 2.0
        one.ImageOrientationPatient = [float(f"{v:.10f}") for v in (*row, *column)]
        one.ImagePositionPatient = [
            float(f"{v:.8f}") for v in np.array([7.0, -3, 11]) + 2.0 * k * np.cross(row, column)
        ]
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 0
        one.PixelData = np.random.default_rng(k).integers(0, 900, (SHAPE[1], SHAPE[0])).astype(np.uint16).tobytes()
        one.save_as(folder / f"{k}.dcm", enforce_file_format=True)
    return uids


def rtstruct(path: Path, uids: dict[str, str], affine: np.ndarray, regions: dict[str, list[np.ndarray]]) -> None:
    """An RTSTRUCT of contours (N, 3) in indices of the volume."""
    one = Dicom()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.SOPClassUID, one.SOPInstanceUID, one.Modality = RTStructureSetStorage, generate_uid(), "RTSTRUCT"
    one.SeriesInstanceUID, one.StudyInstanceUID, one.PatientID = generate_uid(), uids["study"], "12345"
    place, study, reference = Dicom(), Dicom(), Dicom()
    reference.SeriesInstanceUID = uids["series"]
    study.RTReferencedSeriesSequence = [reference]
    place.FrameOfReferenceUID, place.RTReferencedStudySequence = uids["frame"], [study]
    one.ReferencedFrameOfReferenceSequence = [place]
    one.StructureSetROISequence, one.ROIContourSequence = [], []
    for number, (name, rings) in enumerate(regions.items(), 1):
        named, drawn = Dicom(), Dicom()
        named.ROINumber, named.ROIName = number, name
        drawn.ReferencedROINumber, drawn.ContourSequence = number, []
        for points in rings:
            contour = Dicom()
            lps = (np.c_[points, np.ones(len(points))] @ affine.T)[:, :3] * [-1, -1, 1]
            contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(points)
            contour.ContourData = [f"{v:.6f}" for v in lps.ravel()]
            drawn.ContourSequence.append(contour)
        one.StructureSetROISequence.append(named)
        one.ROIContourSequence.append(drawn)
    one.save_as(path, enforce_file_format=True)


def ring_contours(place: int) -> list[np.ndarray]:
    return [np.array([(x - 0.5, y - 0.5, place) for x, y in corners], float) for corners in RING]


def ring_mask(*places: int) -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    for k in places:
        mask[2:12, 2:10, k] = 1
        mask[5:9, 4:8, k] = 0
    return mask


@pytest.mark.parametrize("oblique", [False, True])
def test_contours_with_holes_land_on_their_voxels(oblique: bool, tmp_path: Path) -> None:
    uids = series(tmp_path / "ct", oblique=oblique)
    affine = read_image(tmp_path / "ct").affine
    assert affine is not None
    regions = {"GTV-1": ring_contours(1) + ring_contours(3), "Spine": ring_contours(2)}
    (tmp_path / "objects").mkdir()
    rtstruct(tmp_path / "objects" / "rt.dcm", uids, affine, regions)
    data = opened("dicom", tmp_path, ["background", "lesion"], names={"lesion": ["gtv*"]})
    (item,) = data.items()
    assert item.groups["patient"] != "12345"
    assert np.array_equal(data.load(item).target, ring_mask(1, 3))
    assert "left out: Spine" in data.notes()[0].text  # type: ignore[attr-defined]


def test_a_contour_across_the_slices_is_refused(tmp_path: Path) -> None:
    uids = series(tmp_path / "ct")
    affine = read_image(tmp_path / "ct").affine
    assert affine is not None
    crooked = np.array([(2, 2, 0), (12, 3, 2), (12, 10, 4), (3, 9, 2)], float)
    rtstruct(tmp_path / "rt.dcm", uids, affine, {"lesion": [crooked]})
    data = opened("dicom", tmp_path, ["background", "lesion"])
    with pytest.raises(UserError, match="lies across the slices"):
        data.load(data.items()[0])


@pytest.mark.parametrize("oblique", [False, True])
def test_a_seg_comes_back_as_it_was_written(oblique: bool, tmp_path: Path) -> None:
    series(tmp_path / "ct", oblique=oblique)
    image = read_image(tmp_path / "ct")
    mask = ring_mask(0, 2)
    mask[15:, 12:, 4] = 2
    labels = ["background", "lesion", "bone"]
    write_segmentation(tmp_path / "seg.dcm", mask, image, labels, model="drawn", version="1")
    data = opened("dicom", tmp_path, ["background", "lesion", "bone"])
    assert np.array_equal(data.load(data.items()[0]).target, mask)
    other = opened("dicom", tmp_path, ["background", "liver"])
    with pytest.raises(UserError, match="no structure is called 'liver'; they are called bone, lesion"):
        other.items()


def test_labels_of_another_series_belong_to_none(tmp_path: Path) -> None:
    uids = series(tmp_path / "ct")
    affine = read_image(tmp_path / "ct").affine
    assert affine is not None
    rtstruct(tmp_path / "rt.dcm", {**uids, "series": str(generate_uid())}, affine, {"lesion": ring_contours(1)})
    with pytest.raises(UserError, match="1 series and 1 SEG or RTSTRUCT"):
        opened("dicom", tmp_path, ["background", "lesion"]).items()


@pytest.mark.skipif(not CASES.is_dir(), reason="needs the shared cases")
@pytest.mark.parametrize(
    ("objects", "truth"),
    [("liver.dcm", "liver_seg.nrrd"), ("sparse-labelmap-ppv5.dcm", "sparse_labelmap_noppv_seg.nrrd")],
)
def test_segmentations_of_dcmqi_agree_with_their_nrrd(objects: str, truth: str) -> None:
    folder = CASES / "dcmqi" / "segmentations"
    data = opened("dicom", folder, ["background", "liver"], objects=objects)
    sample = data.load(data.items()[0])
    stored = read_image(folder / truth)
    assert stored.affine is not None
    assert sample.image.affine is not None
    places = np.argwhere(stored.array[0] > 0)
    moved = np.linalg.inv(sample.image.affine) @ stored.affine @ np.c_[places, np.ones(len(places))].T
    expected = np.zeros(sample.image.shape, bool)
    expected[tuple(np.rint(moved[:3]).astype(int))] = True
    assert np.array_equal(np.asarray(sample.target) > 0, expected)


def luna(root: Path, row: str) -> Dataset:
    (root / "subset0").mkdir()
    header = "ObjectType = Image\nNDims = 3\nDimSize = 20 16 10\nElementType = MET_SHORT\nElementSpacing = 1 1 2\n"
    header += "Offset = -10 -20 -30\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nElementDataFile = 1.2.3.raw\n"
    (root / "subset0" / "1.2.3.mhd").write_text(header)
    (root / "subset0" / "1.2.3.raw").write_bytes(np.arange(3200, dtype=np.int16).tobytes())
    (root / "annotations.csv").write_text(f"seriesuid,coordX,coordY,coordZ,diameter_mm\n{row}\n")
    return opened("luna16", root, ["nodule"], "detect")


def test_nodules_of_luna16_lie_in_their_voxels(tmp_path: Path) -> None:
    # Voxel (5, 6, 4) is at (-5, -14, -22) in LPS; the affine of medzoo is RAS.
    data = luna(tmp_path, "1.2.3,-5,-14,-22,6")
    sample = data.load(data.items()[0])
    assert isinstance(sample.target, Objects)
    assert sample.mask is not None
    np.testing.assert_allclose(sample.target.boxes, [[2.5, 3.5, 3, 8.5, 9.5, 6]])
    np.testing.assert_allclose(np.argwhere(sample.mask).mean(axis=0), [5, 6, 4])
    assert sample.mask[8, 6, 4]
    assert not sample.mask[9, 6, 4]
    assert sample.mask[5, 6, 5]
    assert not sample.mask[5, 6, 6]


@pytest.mark.parametrize(
    ("row", "said"), [("1.2.3,500,0,0,6", "csv:2: the centre"), ("1.2.3,a,0,0,6", "csv:2: is no row")]
)
def test_a_wrong_row_of_luna16_is_named(row: str, said: str, tmp_path: Path) -> None:
    def read() -> None:
        data = luna(tmp_path, row)
        data.load(data.items()[0])

    with pytest.raises(UserError, match=said):
        read()


def regional(root: Path, labels: dict[str, Any]) -> None:
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    stored = np.random.default_rng(0).integers(0, 5, (6, 5, 4)).astype(np.uint8)
    nib.save(nib.Nifti1Image(stored, np.eye(4)), root / "labelsTr" / "a.nii.gz")
    nib.save(nib.Nifti1Image(stored.astype(np.float32), np.eye(4)), root / "imagesTr" / "a_0000.nii.gz")
    document = {"channel_names": {"0": "MR"}, "labels": labels, "file_ending": ".nii.gz", "regions_class_order": [1, 2]}
    (root / "dataset.json").write_text(json.dumps(document))


def test_regions_and_ignored_voxels_of_nnunet(tmp_path: Path) -> None:
    regional(tmp_path, {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "ignore": 4})
    data = opened("nnunet", tmp_path, ["background", "whole", "core"])
    sample = data.load(data.items()[0])
    stored = sample.image.array[0].astype(int)
    target = np.asarray(sample.target)
    assert np.array_equal(target == 1, stored == 1)
    assert np.array_equal(target == 2, (stored == 2) | (stored == 3))
    assert np.array_equal(target == 255, stored == 4)
    assert "whole stands for the values [1] alone" in data.notes()[0].text  # type: ignore[attr-defined]
    answer = np.where(target == 255, 1, target)  # wrong only where nothing is scored
    scores = SegmentScores(["background", "whole", "core"], ["dice"])
    scores.add(target, answer, item="a")
    assert scores.records()[0]["values"]["whole"]["dice"] == 1


def test_a_region_without_a_value_of_its_own_is_refused(tmp_path: Path) -> None:
    regional(tmp_path, {"background": 0, "core": [2, 3], "whole": [1, 2, 3, 4]})
    with pytest.raises(UserError, match="'core' has no value"):
        opened("nnunet", tmp_path, ["background", "core", "whole"]).items()


def test_colour_pictures_of_nnunet_are_one_file(tmp_path: Path) -> None:
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
    colour = np.random.default_rng(0).integers(0, 255, (12, 10, 3), np.uint8)
    Pillow.fromarray(colour).save(tmp_path / "imagesTr" / "a_0000.png")
    Pillow.fromarray((colour[..., 0] > 100).astype(np.uint8)).save(tmp_path / "labelsTr" / "a.png")
    names = {"0": "R", "1": "G", "2": "B"}
    document = {"channel_names": names, "labels": {"background": 0, "cell": 1}, "file_ending": ".png"}
    (tmp_path / "dataset.json").write_text(json.dumps(document))
    data = opened("nnunet", tmp_path, ["background", "cell"])
    sample = data.load(data.items()[0])
    assert np.array_equal(sample.image.array, colour.transpose(2, 0, 1))
    assert np.array_equal(sample.target, colour[..., 0] > 100)
