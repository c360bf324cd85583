"""Outputs of `predict --format`: DICOM objects that carry patient and UIDs or neither, COCO, CSV, PNG."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image as Pillow

from medzoo.commands.predict import output_names, predict_files
from medzoo.errors import UserError
from medzoo.io.run_lengths import run_lengths
from medzoo.results import Failure
from medzoo.runtime.metadata import Geometry, Metadata
from medzoo.runtime.predictor import Predictor
from medzoo.types import Array
from tests.unit.io.test_io_geometry import LABELS, Through, as_dicom, body


def answers(predictor: Predictor, inputs: list[Path], out: Path, **options: object) -> list:
    return list(predict_files(predictor, [str(p) for p in inputs], out=out, pictures=False, **options))


@pytest.fixture
def series(tmp_path: Path) -> Path:
    labels, affine = body()
    return as_dicom(tmp_path, labels, affine)


def everything(dataset: pydicom.Dataset) -> str:
    return str(dataset) + str(dataset.file_meta)


def test_seg_and_sr_belong_to_the_patients_study(series: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="highdicom (extra dicom) writes SEG and SR")
    source = pydicom.dcmread(series / "00.dcm")
    answers(Predictor(Through("segment")), [series], tmp_path, form="dicom-seg")
    answers(Predictor(Through("detect")), [series], tmp_path, form="dicom-sr")
    for path, modality in ((tmp_path / "series_seg.dcm", "SEG"), (tmp_path / "series_sr.dcm", "SR")):
        made = pydicom.dcmread(path)
        assert made.Modality == modality
        for key in ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "AccessionNumber"):
            assert made[key].value == source[key].value, key
        assert made.SeriesInstanceUID != source.SeriesInstanceUID
        assert str(source.SOPInstanceUID) in everything(made)
    seg = pydicom.dcmread(tmp_path / "series_seg.dcm")
    assert seg.FrameOfReferenceUID == source.FrameOfReferenceUID


def test_deidentified_outputs_say_neither_who_nor_when(series: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="highdicom (extra dicom) writes SEG and SR")
    named = series.rename(tmp_path / "Doe_Jane_PID-4711")
    uids = {str(pydicom.dcmread(p)[key].value) for p in named.iterdir()
            for key in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")}  # fmt: skip
    out = tmp_path / "out"
    for task, form in (("segment", "dicom-seg"), ("detect", "dicom-sr"), ("detect", "csv"), ("detect", "auto")):
        (answer,) = answers(Predictor(Through(task)), [named], out, form=form, deidentify=True)
        assert answer.input == str(named)
    assert sorted(p.name for p in out.iterdir()) == [
        "image-0001.json", "image-0001_seg.dcm", "image-0001_sr.dcm", "predictions.csv"
    ]  # fmt: skip
    for path in out.iterdir():
        raw = path.read_bytes()
        for secret in (b"Doe", b"Jane", b"PID-4711", b"19500505", b"20240102", b"Ref^Dr", *(u.encode() for u in uids)):
            assert secret not in raw, (path.name, secret)
    studies = {str(pydicom.dcmread(p).StudyInstanceUID) for p in out.glob("*.dcm")}
    assert len(studies) == 1  # exchanged, and the same each time


class Nothing(Through):
    def run(self, inputs, outputs=None):  # type: ignore[no-untyped-def]
        return {"labels": np.zeros(inputs["image"][:, 0].shape, np.uint8)}


def test_an_empty_mask_is_a_seg_with_every_slice(series: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="highdicom (extra dicom) writes SEG and SR")
    answers(Predictor(Nothing("segment")), [series], tmp_path, form="dicom-seg")
    made = pydicom.dcmread(tmp_path / "series_seg.dcm")
    assert int(made.NumberOfFrames) >= 9
    assert not made.pixel_array.any()
    assert [str(s.SegmentLabel) for s in made.SegmentSequence] == list(LABELS[1:])


class Empty(Through):
    def run(self, inputs, outputs=None):  # type: ignore[no-untyped-def]
        return {"boxes": np.zeros((1, 1, 6), np.float32), "scores": np.zeros((1, 1), np.float32),
                "labels": np.zeros((1, 1), np.int64), "count": np.array([0])}  # fmt: skip


def test_no_boxes_are_a_report_that_says_so(series: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="highdicom (extra dicom) writes SEG and SR")
    from medzoo.io.dicom.structured_report import read_report

    answers(Predictor(Empty("detect")), [series], tmp_path, form="dicom-sr")
    assert read_report(tmp_path / "series_sr.dcm") == []
    assert "Nothing found by the model" in str(pydicom.dcmread(tmp_path / "series_sr.dcm"))


def test_seg_and_sr_of_one_enhanced_file(tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="highdicom (extra dicom) writes SEG and SR")
    from medzoo.io.dicom.structured_report import finding_box, read_report
    from tests.unit.io.test_io_dicom_sources import enhanced

    class Fixed(Through):
        def run(self, inputs, outputs=None):  # type: ignore[no-untyped-def]
            mask = np.zeros(inputs["image"][:, 0].shape, np.uint8)
            mask[0, 1:3, 1:3, 2] = 1
            return {"labels": mask, "boxes": np.array([[[1, 1, 2, 3, 3, 4]]], np.float32), "count": np.array([1]),
                    "scores": np.ones((1, 1), np.float32), "labels" if self.metadata.task == "detect" else "_":
                    np.zeros((1, 1), np.int64)}  # fmt: skip

    one = enhanced()
    one.StudyInstanceUID, one.FrameOfReferenceUID, one.PatientID = "1.2.3", "1.2.4", "PID-4711"
    one.save_as(tmp_path / "e.dcm", enforce_file_format=True)
    (seg,) = answers(Predictor(Fixed("segment")), [tmp_path / "e.dcm"], tmp_path / "out", form="dicom-seg")
    (det,) = answers(Predictor(Fixed("detect")), [tmp_path / "e.dcm"], tmp_path / "out", form="dicom-sr")
    assert pydicom.dcmread(seg.mask_path).pixel_array.sum() == seg.mask.astype(bool).sum() == 4
    (finding,) = read_report(tmp_path / "out/e_sr.dcm")
    np.testing.assert_allclose(finding_box(finding, det.image.affine), det.boxes[0], atol=1e-3)


def test_results_without_such_a_format_are_refused(series: Path, tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    Pillow.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(picture)
    cases = [
        (Predictor(Through("detect")), series, "dicom-seg", "takes a mask, this model is of task detect"),
        (Predictor(Through("segment")), series, "coco", "COCO holds boxes and masks of pictures alone"),
        (Predictor(Through("detect")), series, "nifti", "only the mask of a volume"),
        (Predictor(Flat()), picture, "dicom-sr", "was not read from DICOM"),
    ]
    for predictor, source, form, words in cases:
        if "dicom" in form:
            pytest.importorskip("highdicom", reason="highdicom (extra dicom) writes SEG and SR")
        (failure,) = answers(predictor, [source], tmp_path / "out", form=form)
        assert isinstance(failure, Failure)
        assert words in str(failure.error)
    left = [p.name for p in (tmp_path / "out").rglob("*")]
    assert left in ([], ["predictions.json"])


class Flat:
    """A graph for pictures that finds two boxes."""

    name, device = "made", "cpu"
    metadata = Metadata(name="flat", task="detect", labels=("lesion", "cyst"), geometry=Geometry(dims=2))

    def run(self, inputs, outputs=None):  # type: ignore[no-untyped-def]
        boxes = np.array([[[1, 2, 5, 7], [0, 0, 2.5, 3]]], np.float32)
        return {"boxes": boxes, "scores": np.array([[0.9, 0.4]], np.float32),
                "labels": np.array([[1, 0]]), "count": np.array([2])}  # fmt: skip


def test_coco_and_csv_hold_all_results_in_order(tmp_path: Path) -> None:
    inputs = []
    for n in range(5):
        inputs.append(tmp_path / f"{n}.png")
        Pillow.fromarray(np.full((8, 10), n, np.uint8)).save(inputs[-1])
    answers(Predictor(Flat()), inputs, tmp_path / "out", form="coco")
    document = json.loads((tmp_path / "out/predictions.json").read_text())
    assert [i["file_name"] for i in document["images"]] == [str(p) for p in inputs]
    assert document["categories"] == [{"id": 1, "name": "lesion"}, {"id": 2, "name": "cyst"}]
    first = document["annotations"][0]
    assert (first["bbox"], first["area"], first["category_id"]) == ([1, 2, 4, 5], 20, 2)
    answers(Predictor(Flat()), inputs, tmp_path / "out", form="csv")
    rows = list(csv.DictReader((tmp_path / "out/predictions.csv").open()))
    assert len(rows) == 10
    box = {"x0": "0.0", "y0": "0.0", "x1": "2.5", "y1": "3.0"}
    wanted = {"input": str(inputs[0]), "model": "flat", "label": "lesion", "score": "0.4", **box}
    assert {key: rows[1][key] for key in wanted} == wanted
    assert (rows[1]["long_px"], rows[1]["area_px"], rows[1]["cut_by_border"]) == ("3.0", "7.5", "true")


def test_run_lengths_are_cocos() -> None:
    def decoded(runs: list[int], shape: tuple[int, int]) -> Array:
        flat = np.repeat(np.arange(len(runs)) % 2, runs)
        return np.pad(flat, (0, shape[0] * shape[1] - len(flat))).reshape(shape, order="F")

    rng = np.random.default_rng(0)
    for mask in (*(rng.random((7, 5)) > 0.5 for _ in range(20)), np.zeros((3, 3), bool), np.ones((3, 3), bool)):
        runs = run_lengths(mask)
        np.testing.assert_array_equal(decoded(runs, mask.shape), mask)
        assert sum(runs) == mask.size


@pytest.mark.parametrize(("name", "pictures"), [("scan.png", True), ("scan_mask.nii.gz", False)])
def test_an_input_is_never_written_over(name: str, pictures: bool, tmp_path: Path) -> None:
    """`predict MODEL scan.png -o .`: the drawing would replace the scan, and be the input next time."""
    scan, other = tmp_path / name, tmp_path / "scan.bmp"
    Pillow.new("L", (64, 64), 90).save(tmp_path / "scan.png")
    Pillow.new("L", (64, 64), 90).save(other)
    scan.write_bytes((tmp_path / "scan.png").read_bytes())
    before = scan.read_bytes()
    inputs = [str(other), str(scan)]
    found = predict_files(Predictor(Through("detect")), inputs, out=tmp_path / "x" / "..", pictures=pictures)
    with pytest.raises(UserError, match=f"{name}: a result would overwrite this input .choose another -o"):
        list(found)
    assert scan.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"scan.png", "scan.bmp", name}


def test_a_folder_is_called_by_its_name_from_within_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "series" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "series" / "inner")
    for text, name in ((".", "inner"), ("./", "inner"), ("..", "series"), ("../", "series"), ("/", "root")):
        assert [str(one) for one in output_names([text])] == [name], text
    with pytest.raises(UserError, match="INPUT: is empty"):
        output_names([""])
