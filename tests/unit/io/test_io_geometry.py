"""One geometry: 48 axis orientations, anisotropic, oblique, stored as NIfTI and as DICOM. A model that passes its
input through must answer the same body at the same place, and every writer must keep it there (of pictures:
test_writers_of_pictures.py)."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from medzoo.io import read_image, read_labels
from medzoo.results import Detections, Segmentation
from medzoo.runtime.metadata import Geometry, Metadata
from medzoo.runtime.predictor import Predictor
from medzoo.types import Array
from medzoo.writer import WriterOptions
from medzoo.writers.csv import CsvWriter

LABELS = ("background", "csf", "lesion")
TURNS = [(p, s) for p in itertools.permutations(range(3)) for s in itertools.product((1, -1), repeat=3)]
SPACING = np.array([0.7, 1.1, 2.5])
ANGLES = np.deg2rad([17.0, -11.0, 8.0])
HOST = ({"op": "orient", "to": "RAS"},)


def rotation() -> Array:
    (a, b, c) = ANGLES
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return np.asarray(x @ y @ z)


def body() -> tuple[Array, Array]:
    """Labels (7, 8, 9) without any symmetry, and their affine."""
    labels = np.zeros((7, 8, 9), np.int16)
    labels[1:4, 2:7, 3:5] = 1
    labels[4:6, 3:4, 2:8] = 2
    labels[2, 6, 7] = 2
    affine = np.eye(4)
    affine[:3, :3] = rotation() * SPACING
    affine[:3, 3] = (-31.25, 12.5, 7.75)
    return labels, affine


def stored(turn: tuple[Sequence[int], Sequence[int]]) -> tuple[Array, Array]:
    """The body with its axes exchanged and reversed, at the same place."""
    labels, affine = body()
    axes, signs = turn
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for new, (old, sign) in enumerate(zip(axes, signs, strict=True)):
        matrix[old, new] = sign
        matrix[old, 3] = 0 if sign > 0 else labels.shape[old] - 1
    array = labels.transpose(axes)[tuple(slice(None, None, s) for s in signs)]
    return np.ascontiguousarray(array), affine @ matrix


def as_nifti(folder: Path, array: Array, affine: Array) -> Path:
    path = folder / "scan.nii.gz"
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def as_dicom(folder: Path, array: Array, affine: Array) -> Path:
    """One file a slice of the third axis; reversed storage is what the reader must undo by the positions."""
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    lengths = np.linalg.norm(lps[:3, :3], axis=0)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    folder = folder / "series"
    folder.mkdir()
    for k in range(array.shape[2]):
        d = Dataset()
        d.file_meta = FileMetaDataset()
        d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        d.SOPClassUID, d.SOPInstanceUID = CTImageStorage, generate_uid()
        d.StudyInstanceUID, d.SeriesInstanceUID, d.FrameOfReferenceUID = study, series, frame
        d.PatientName, d.PatientID = "Doe^Jane", "PID-4711"
        d.Modality, d.SeriesNumber, d.InstanceNumber = "CT", 3, k + 1
        d.StudyDate, d.StudyTime, d.PatientBirthDate, d.PatientSex = "20240102", "101500", "19500505", "F"
        d.AccessionNumber, d.StudyID, d.ReferringPhysicianName = "A1", "S1", "Ref^Dr"
        d.Rows, d.Columns = array.shape[1], array.shape[0]
        d.PixelSpacing = [float(f"{lengths[1]:.10g}"), float(f"{lengths[0]:.10g}")]
        d.SliceThickness = float(f"{lengths[2]:.10g}")
        directions = lps[:3, :2] / lengths[:2]
        d.ImageOrientationPatient = [float(f"{v:.12f}") for v in directions.T.ravel()]
        d.ImagePositionPatient = [float(f"{v:.9f}") for v in (lps @ [0, 0, k, 1])[:3]]
        d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
        d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 16, 15, 1
        d.PixelData = np.ascontiguousarray(array[:, :, k].T).tobytes()
        d.save_as(folder / f"{k:02d}.dcm", enforce_file_format=True)
    return folder


class Through:
    """A graph that returns its input: its labels, or the box around all of them."""

    name, device = "made", "cpu"

    def __init__(self, task: str) -> None:
        self.metadata = Metadata(
            name="through", task=task, labels=LABELS if task == "segment" else LABELS[1:], host=HOST,
            geometry=Geometry(dims=3),
        )  # fmt: skip

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        image = inputs["image"]
        if self.metadata.task == "segment":
            return {"labels": np.rint(image[:, 0]).astype(np.uint8)}
        places = np.argwhere(image[0, 0] > 0)
        box = np.concatenate([places.min(axis=0), places.max(axis=0) + 1]).astype(np.float32)
        one = np.ones((1, 1), np.float32)
        return {"boxes": box[None, None], "scores": 0.75 * one, "labels": one.astype(np.int64), "count": one[0]}


def in_body(mask: Array, affine: Array) -> Array:
    """A mask on any grid as labels on the body's own, voxel by voxel through millimetres."""
    labels, own = body()
    index = np.indices(labels.shape).reshape(3, -1)
    there = (np.linalg.inv(affine) @ own @ np.r_[index, np.ones((1, index.shape[1]))])[:3]
    assert np.abs(there - np.rint(there)).max() < 1e-3
    found: Array = mask[tuple(np.rint(there).astype(int))].reshape(labels.shape)
    return found


def true_box() -> Array:
    """The two RAS corners (2, 3) of the box about the body's labels on its own grid, as a point set's extent."""
    labels, affine = body()
    places = np.argwhere(labels > 0)
    ends = np.array([places.min(axis=0) - 0.5, places.max(axis=0) + 0.5])
    corners = np.array(list(itertools.product(*ends.T)))
    points = corners @ affine[:3, :3].T + affine[:3, 3]
    return np.array([points.min(axis=0), points.max(axis=0)])


def centroid(mask: Array, affine: Array, label: int) -> Array:
    return np.asarray((affine @ np.r_[np.argwhere(mask == label).mean(axis=0), 1])[:3])


@pytest.mark.parametrize("write", [as_nifti, as_dicom])
@pytest.mark.parametrize("turn", TURNS, ids=lambda t: "".join("ijk"[a] + "+-"[s < 0] for a, s in zip(*t, strict=True)))
def test_the_prediction_lies_where_the_body_lies(tmp_path: Path, turn: tuple, write: object) -> None:
    labels, own = body()
    array, affine = stored(turn)
    path = write(tmp_path, array, affine)
    seg, det = Predictor(Through("segment")).predict(path), Predictor(Through("detect")).predict(path)
    assert isinstance(seg, Segmentation)
    assert isinstance(det, Detections)
    assert seg.mask.shape == read_image(path).shape
    np.testing.assert_array_equal(in_body(seg.mask, seg.image.affine), labels)
    for label in (1, 2):
        np.testing.assert_allclose(centroid(seg.mask, seg.image.affine, label), centroid(labels, own, label), atol=1e-3)
    np.testing.assert_allclose(det.boxes_mm[0], true_box(), atol=1e-3)

    again = read_labels(seg.save(tmp_path / "mask.nii.gz").mask_path)
    np.testing.assert_array_equal(in_body(again.array[0], again.affine), labels)
    np.testing.assert_allclose(det.to_dict()["detections"][0]["box_mm"], true_box(), atol=1e-3)
    table = CsvWriter(WriterOptions(tmp_path, "m", "detect", ()))
    table.write(det, tmp_path / "scan")
    table.close()
    row = next(csv.DictReader((tmp_path / "predictions.csv").open()))
    written = [[float(row[f"{axis}{end}_mm"]) for axis in "xyz"] for end in (0, 1)]
    np.testing.assert_allclose(written, true_box(), atol=1e-3)
    if write is as_dicom:
        _dicom_writers(tmp_path, seg, det)


def _dicom_writers(folder: Path, seg: Segmentation, det: Detections) -> None:
    pytest.importorskip("highdicom", reason="highdicom (extra dicom) writes SEG and SR")
    from medzoo.io.dicom.segmentation import read_segmentation, write_segmentation
    from medzoo.io.dicom.structured_report import finding_box, read_report, write_report
    from medzoo.types import boxes_to_mm

    labels, own = body()
    path = write_segmentation(folder / "a.dcm", seg.mask, seg.image, LABELS, model="through", version="1")
    frames, affines, names = read_segmentation(path)
    assert names == list(LABELS[1:])
    found = np.zeros_like(labels)
    for values, affine in zip(frames, affines, strict=True):
        rows, columns = np.nonzero(values)
        points = affine @ np.array([columns, rows, np.zeros_like(rows), np.ones_like(rows)], float)
        index = (np.linalg.inv(own) @ points)[:3]
        assert np.abs(index - np.rint(index)).max() < 1e-3
        found[tuple(np.rint(index).astype(int))] = values[rows, columns]
    np.testing.assert_array_equal(found, labels)
    path = write_report(folder / "b.dcm", det.boxes, det.scores, ["lesion"], det.image, model="through", version="1")
    (finding,) = read_report(path)
    assert finding.label == "Lesion"
    assert finding.score == pytest.approx(0.75)
    box = finding_box(finding, det.image.affine)
    np.testing.assert_allclose(boxes_to_mm(box[None], det.image.affine)[0], true_box(), atol=1e-3)
