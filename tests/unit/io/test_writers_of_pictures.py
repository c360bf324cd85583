"""Every writer of pictures keeps a result where it was found: eight ways to turn a picture, stored as PNG, as
TIFF and as a DICOM image with pixels that are not square. Volumes: test_io_geometry.py."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image as Pillow

from medzoo.commands.predict import predict_files
from medzoo.io import read_labels
from medzoo.results import Failure
from medzoo.runtime.metadata import Geometry, Metadata
from medzoo.runtime.predictor import Predictor
from medzoo.types import Array
from tests.unit.io.test_io_geometry import as_dicom

TURNS = [(quarter, flip) for quarter in range(4) for flip in (False, True)]
LABELS = ("background", "cyst", "lesion")


def body() -> Array:
    """Labels (11, 15) without any symmetry, one part of two pieces."""
    labels = np.zeros((11, 15), np.uint8)
    labels[1:4, 2:9] = 1
    labels[5:10, 12:14] = 2
    labels[8, 3] = 2
    return labels


def turned(array: Array, turn: tuple[int, bool]) -> Array:
    quarter, flip = turn
    return np.ascontiguousarray(np.rot90(array[:, ::-1] if flip else array, quarter))


def back(array: Array, turn: tuple[int, bool]) -> Array:
    quarter, flip = turn
    unturned = np.rot90(array, -quarter)
    return unturned[:, ::-1] if flip else unturned


def as_png(folder: Path, array: Array) -> Path:
    Pillow.fromarray(array).save(folder / "a.png")
    return folder / "a.png"


def as_tiff(folder: Path, array: Array) -> Path:
    Pillow.fromarray(array).save(folder / "a.tiff")
    return folder / "a.tiff"


def as_one_dicom(folder: Path, array: Array) -> Path:
    return as_dicom(folder, array.T[:, :, None].astype(np.int16), np.diag([0.7, 1.1, 2.5, 1.0])) / "00.dcm"


class Through:
    """A graph that returns the labels of its input, or a box around each."""

    name, device = "made", "cpu"

    def __init__(self, task: str) -> None:
        labels = LABELS if task == "segment" else LABELS[1:]
        self.metadata = Metadata(name="through", task=task, labels=labels, geometry=Geometry(dims=2))  # type: ignore[arg-type]

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        image = np.rint(inputs["image"][:, 0]).astype(np.uint8)
        if self.metadata.task == "segment":
            return {"labels": image}
        boxes = np.array([[box(image[0] == value) for value in (1, 2)]], np.float32)
        return {"boxes": boxes, "scores": np.array([[0.75, 0.5]], np.float32), "labels": np.array([[0, 1]]),
                "count": np.array([2])}  # fmt: skip


def box(mask: Array) -> list[float]:
    places = np.argwhere(mask)
    (y0, x0), (y1, x1) = places.min(axis=0), places.max(axis=0) + 1
    return [float(v) for v in (x0, y0, x1, y1)]


def filled(corners: Sequence[float], shape: tuple[int, ...]) -> Array:
    mask = np.zeros(shape, bool)
    x0, y0, x1, y1 = (round(v) for v in corners)
    mask[y0:y1, x0:x1] = True
    return mask


def written(source: Path, task: str, form: str, folder: Path) -> Path:
    (answer,) = predict_files(
        Predictor(Through(task)), [str(source)], out=folder / form, form=form, pictures=False  # type: ignore[arg-type]
    )  # fmt: skip
    assert not isinstance(answer, Failure), answer.error
    (path,) = (p for p in (folder / form).iterdir() if p.is_file())
    return path


def coco_boxes(path: Path) -> list[list[float]]:
    found = json.loads(path.read_text())["annotations"]
    return [[x, y, x + w, y + h] for x, y, w, h in (one["bbox"] for one in found)]


def csv_boxes(path: Path) -> list[list[float]]:
    return [[float(row[key]) for key in ("x0", "y0", "x1", "y1")] for row in csv.DictReader(path.open())]


def json_boxes(path: Path) -> list[list[float]]:
    return [one["box"] for one in json.loads(path.read_text())["detections"]]


def report_boxes(path: Path) -> list[list[float]]:
    from medzoo.io.dicom.structured_report import finding_box, read_report

    return [list(finding_box(finding, None)) for finding in read_report(path)]


def coco_mask(path: Path) -> Array:
    document = json.loads(path.read_text())
    (image,) = document["images"]
    mask = np.zeros((image["height"], image["width"]), np.uint8)
    for one in document["annotations"]:
        runs = one["segmentation"]["counts"]
        flat = np.repeat(np.arange(len(runs)) % 2, runs)
        flat = np.pad(flat, (0, mask.size - len(flat))).reshape(mask.shape, order="F")
        assert one["area"] == flat.sum()
        assert box(flat > 0) == [one["bbox"][0], one["bbox"][1], *np.add(one["bbox"][:2], one["bbox"][2:])]
        mask[flat > 0] = one["category_id"]
    return mask


def seg_mask(path: Path) -> Array:
    made = pydicom.dcmread(path)
    mask = np.zeros((made.Rows, made.Columns), np.uint8)
    for frame, bits in zip(made.PerFrameFunctionalGroupsSequence, made.pixel_array, strict=True):
        mask[bits > 0] = int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
    return mask


MASKS: dict[str, Callable[[Path], Array]] = {
    "auto": lambda path: read_labels(path).array[0],
    "coco": coco_mask,
    "dicom-seg": seg_mask,
}
BOXES = {"auto": json_boxes, "coco": coco_boxes, "csv": csv_boxes, "dicom-sr": report_boxes}


@pytest.mark.parametrize("store", [as_png, as_tiff, as_one_dicom])
@pytest.mark.parametrize("turn", TURNS)
def test_every_writer_keeps_the_place(
    tmp_path: Path, turn: tuple[int, bool], store: Callable[[Path, Array], Path]
) -> None:
    pytest.importorskip("highdicom", reason="highdicom (extra dicom) writes SEG and SR")
    labels = body()
    source = store(tmp_path, turned(labels, turn))
    for form, read in MASKS.items():
        if "dicom" in form and store is not as_one_dicom:
            continue
        mask = read(written(source, "segment", form, tmp_path / "masks"))
        np.testing.assert_array_equal(back(mask, turn), labels, err_msg=form)
    row = list(csv.DictReader(written(source, "segment", "csv", tmp_path / "masks").open()))
    assert {one["label"]: int(one["area_px"]) for one in row} == {"cyst": 21, "lesion": 11}
    for form, read_boxes in BOXES.items():
        if "dicom" in form and store is not as_one_dicom:
            continue
        found = read_boxes(written(source, "detect", form, tmp_path / "boxes"))
        assert len(found) == 2, form
        for value, corners in zip((1, 2), found, strict=True):
            there = back(filled(corners, turned(labels, turn).shape), turn)
            assert box(there) == box(labels == value), form
