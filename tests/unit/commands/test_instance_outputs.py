"""Detections with masks as files: label maps, GeoJSON, DICOM SEG and SR, tables; and components of segmentations."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.path import Path as Ring
from PIL import Image as Pillow

from medzoo.commands.predict import predict_files
from medzoo.errors import UserError
from medzoo.io import read_labels
from medzoo.results import Classification, Detections, Failure
from medzoo.runtime.predictor import Predictor
from medzoo.types import Image
from tests.unit.io.test_writers_of_pictures import Through, as_one_dicom
from tests.unit.runtime.test_masks_of_detections import Blobs, picture, predict

SPACING = (1.1, 0.7)  # of as_one_dicom: height and width of a pixel


def written(source: Path, form: str, folder: Path, *, backend: object = None, **options: object) -> object:
    predictor = Predictor(backend or Blobs(), threshold=0.1)  # type: ignore[arg-type]
    (result,) = predict_files(predictor, [str(source)], out=folder, form=form, pictures=False, **options)  # type: ignore[arg-type]
    if isinstance(result, Failure):
        raise result.error
    return result


@pytest.fixture
def png(tmp_path: Path) -> Path:
    Pillow.fromarray(picture()[0]).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_a_map_of_instances_numbers_them_as_the_json_does(png: Path, tmp_path: Path) -> None:
    result = written(png, "labels", tmp_path / "out")
    stored = np.asarray(Pillow.open(tmp_path / "out" / "a_mask.png"))
    document = json.loads((tmp_path / "out" / "a.json").read_text())
    assert document == json.loads(json.dumps(result.to_dict()))
    assert document["mask"].endswith("a_mask.png")
    assert [one["instance"] for one in document["detections"]] == [1, 2, 3]
    for one in document["detections"]:
        assert (stored == one["instance"]).sum() == one["measures"]["area_px"]
    assert np.array_equal(stored > 0, picture()[0] > 0)
    assert np.array_equal(read_labels(tmp_path / "out" / "a_mask.png").array[0], stored)


def test_more_than_255_instances_take_16_bits(tmp_path: Path) -> None:
    from medzoo.io.mask import write_mask

    numbers = np.arange(20 * 20, dtype=np.uint16).reshape(20, 20)
    for image, name in (
        (Image(np.zeros((1, 20, 20)), None), "a.png"),
        (Image(np.zeros((1, 20, 20, 1)), np.eye(4)), "a.nii.gz"),
    ):
        write_mask(tmp_path / name, numbers.reshape(image.shape), image)
        assert np.array_equal(read_labels(tmp_path / name).array[0].reshape(20, 20), numbers)


def test_geojson_is_what_qupath_reads(png: Path, tmp_path: Path) -> None:
    written(png, "geojson", tmp_path)
    document = json.loads((tmp_path / "a.geojson").read_text())
    assert document["type"] == "FeatureCollection"
    assert len({one["id"] for one in document["features"]}) == len(document["features"]) == 3
    rows, columns = np.indices(picture()[0].shape)
    centres = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], axis=1)
    everything = np.zeros(picture()[0].shape, bool)
    for one in document["features"]:
        assert one["type"] == "Feature"
        assert one["geometry"]["type"] == "Polygon"
        assert one["properties"]["objectType"] == "annotation"
        assert one["properties"]["classification"]["name"] == "blob"
        assert len(one["properties"]["classification"]["color"]) == 3
        numbers = one["properties"]["measurements"]
        assert {"score", "long_px", "area_px", "mean", "cut_by_border"} <= set(numbers)
        assert all(isinstance(value, float) for value in numbers.values())
        outside, *holes = (Ring(ring).contains_points(centres) for ring in one["geometry"]["coordinates"])
        everything |= (outside & ~np.any(holes, axis=0) if holes else outside).reshape(everything.shape)
    assert sorted(len(one["geometry"]["coordinates"]) for one in document["features"]) == [1, 1, 2], "one has a hole"
    assert np.array_equal(everything, picture()[0] > 0)
    Pillow.fromarray((picture()[0] > 0).astype(np.uint8)).save(tmp_path / "b.png")
    written(tmp_path / "b.png", "geojson", tmp_path, backend=Through("segment"))
    parts = json.loads((tmp_path / "b.geojson").read_text())["features"]
    rings = [one["geometry"]["coordinates"] for one in document["features"]]
    assert sorted(one["geometry"]["coordinates"] for one in parts) == sorted(rings)
    with pytest.raises(UserError, match="GeoJSON holds boxes and masks of pictures alone"):
        written(png, "geojson", tmp_path, backend=Classes())


class Classes:
    """A backend that gives two probabilities."""

    name, device = "toy", "cpu"

    def __init__(self) -> None:
        from medzoo.runtime.metadata import Geometry, Metadata

        self.metadata = Metadata(name="toy", task="classify", labels=("a", "b"), geometry=Geometry())

    def run(self, inputs: object, outputs: object = None) -> dict[str, np.ndarray]:
        return {"probabilities": np.array([[0.3, 0.7]], np.float32)}


def test_a_segment_for_each_instance_and_a_report_that_refers_to_it(tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="highdicom (extra dicom) writes SEG and SR")
    import highdicom as hd
    import pydicom

    from medzoo.io.dicom.structured_report import read_report

    source = as_one_dicom(tmp_path, picture()[0])
    found = written(source, "dicom-sr", tmp_path / "sr")
    assert isinstance(found, Detections)
    (segment_file,), (report_file,) = ((tmp_path / "sr").glob(f"*_{kind}.dcm") for kind in ("seg", "sr"))
    seg = hd.seg.segread(segment_file)
    assert seg.number_of_segments == 3
    for number, row in enumerate(found.by_score, 1):
        description = seg.get_segment_description(number)
        assert description.SegmentLabel == f"blob {number}"
        assert description.tracking_uid
        frames = [
            pixels
            for frame, pixels in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True)
            if frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number
        ]
        assert np.array_equal(frames[0] > 0, found.masks[int(row)])
    report = pydicom.dcmread(report_file)
    assert str(seg.SOPInstanceUID) in str(report)
    by_segment = {one.segment: one for one in read_report(report_file)}
    for number, row in enumerate(found.by_score, 1):
        one, measures = by_segment[number], found.measures(int(row))
        values = {name: (value, unit) for name, value, unit in one.measured}
        assert one.score == pytest.approx(found.scores[row], abs=1e-4)
        assert values["Long Axis"] == (pytest.approx(measures.long, rel=1e-5), "mm")
        assert values["Short Axis"] == (pytest.approx(measures.short, rel=1e-5), "mm")
        assert values["Area"] == (pytest.approx(found.masks[int(row)].sum() * np.prod(SPACING), rel=1e-5), "mm2")
        assert values["Attenuation Coefficient, Mean"][0] == pytest.approx(measures.mean, rel=1e-5)
    assert str(report).count("Cut by the border of the image") == 3
    written(source, "dicom-seg", tmp_path / "seg")
    assert hd.seg.segread(next((tmp_path / "seg").glob("*_seg.dcm"))).number_of_segments == 3


def test_boxes_are_measured_in_reports_too(tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="highdicom (extra dicom) writes SEG and SR")
    from medzoo.io.dicom.structured_report import read_report

    source = as_one_dicom(tmp_path, (picture()[0] > 0).astype(np.uint8) + (np.indices((96, 120))[0] > 50))
    written(source, "dicom-sr", tmp_path / "out", backend=Through("detect"))
    (path,) = (tmp_path / "out").iterdir()
    for one in read_report(path):
        assert one.segment is None
        assert {name for name, *_ in one.measured} >= {"Long Axis", "Short Axis", "Area"}
    with pytest.raises(UserError, match="this model is of task detect and gives boxes alone"):
        written(source, "dicom-seg", tmp_path / "out", backend=Through("detect"))


def test_components_are_rows_of_the_table(png: Path, tmp_path: Path) -> None:
    labels = (picture()[0] > 0).astype(np.uint8)
    Pillow.fromarray(labels).save(tmp_path / "a.png")
    result = written(tmp_path / "a.png", "csv", tmp_path / "out", backend=Through("segment"), components=True)
    rows = list(csv.DictReader((tmp_path / "out" / "predictions.csv").open()))
    parts = [row for row in rows if row["component"]]
    assert [row["component"] for row in parts] == ["1", "2", "3"]
    assert sum(float(row["area_px"]) for row in parts) == labels.sum()
    assert {row["cut_by_border"] for row in parts} == {"true", "false"}
    assert len(result.to_pandas()) == 3
    written(tmp_path / "a.png", "csv", tmp_path / "plain", backend=Through("segment"))
    header = (tmp_path / "plain" / "predictions.csv").read_text().splitlines()[0]
    assert header == "input,model,label,area_px"


def test_the_command_measures_components(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from medzoo.cli import main

    source = tmp_path / "a.png"
    Pillow.fromarray((picture()[0] > 0).astype(np.uint8)).save(source)
    arguments = ["predict", "toy", str(source), "-o", str(tmp_path / "out"), "--components", "--json"]
    monkeypatch.setattr("medzoo.loading.load.load", lambda *_, **__: Predictor(Through("segment")))
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert not ended.value.code
    (document,) = json.loads(capsys.readouterr().out)
    assert [one["measures"]["cut_by_border"] for one in document["components"]] == [False, False, True]
    assert (tmp_path / "out" / "a.png").is_file(), "with its diameters"
    monkeypatch.setattr("medzoo.loading.load.load", lambda *_, **__: Predictor(Blobs()))
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "--components: measures the parts of masks, and toy gives none" in capsys.readouterr().err


def test_detections_are_chosen_cropped_and_tabulated() -> None:
    found = predict()
    assert len(found.where(score=0.53)) == 1
    assert len(found.where(labels="blob")) == 3
    with pytest.raises(UserError, match="'cell' is no label"):
        found.where(labels="cell")
    for box, crop in zip(found.boxes, found.crops(), strict=True):
        x0, y0, x1, y1 = box.astype(int)
        assert np.array_equal(crop.array, picture()[:, y0:y1, x0:x1])
    assert found.crops(margin=5)[0].shape == (34, 34)
    table = found.to_pandas()
    assert list(table["score"]) == sorted(table["score"], reverse=True)
    assert {"x0", "y1", "long_px", "area_px", "p50", "cut_by_border"} <= set(table.columns)
    volume = Image(np.arange(1000.0).reshape(1, 10, 10, 10), np.diag([2.0, 3, 4, 1]))
    three = Detections(
        input="v", model="m", image=volume, labels=("a",), boxes=np.array([[1, 2, 3, 4, 5, 6.0]]),
        scores=np.ones(1), classes=np.zeros(1, int),
    )  # fmt: skip
    (part,) = three.crops()
    assert np.array_equal(part.array, volume.array[:, 1:4, 2:5, 3:6])
    assert part.affine[:3, 3].tolist() == [2, 6, 12]
    with pytest.raises(UserError, match="supervision holds detections of pictures alone"):
        three.to_supervision()


def test_supervision_takes_boxes_and_masks() -> None:
    pytest.importorskip("supervision", reason="an extra")
    found, other = predict(), predict().to_supervision()
    assert np.allclose(other.xyxy, found.boxes)
    assert np.array_equal(other.mask, np.array([*found.masks]))
    assert set(other.data["class_name"]) == {"blob"}


def test_results_draw_themselves_in_a_notebook() -> None:
    page = predict()._repr_html_()
    assert 'src="data:image/png;base64,' in page
    assert "3 boxes" in page
    words = Classification(input="<b>", model="m", image=None, label="a", probabilities={"a": 0.9})._repr_html_()
    assert "<pre>&lt;Classification" in words
    assert "&lt;b&gt;" in words
    assert not hasattr(Failure("a", UserError("b")), "_repr_html_")


def test_components_of_a_volume_are_segments_with_measurements(tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="highdicom (extra dicom) writes SEG and SR")
    import highdicom as hd

    from medzoo.io.dicom.structured_report import read_report
    from tests.unit.io.test_io_geometry import Through as Volumes
    from tests.unit.io.test_io_geometry import as_dicom, body

    source = as_dicom(tmp_path, *body())
    result = written(source, "dicom-sr", tmp_path / "out", backend=Volumes("segment"), components=True)
    (seg,), (report,) = ((tmp_path / "out").glob(f"*_{kind}.dcm") for kind in ("seg", "sr"))
    parts, found = result.components(), sorted(read_report(report), key=lambda one: one.segment)
    assert hd.seg.segread(seg).number_of_segments == len(parts) == len(found) > 1
    for one, finding in zip(parts, found, strict=True):
        values = {name: (value, unit) for name, value, unit in finding.measured}
        assert values["Volume"] == (pytest.approx(one.measures.size / 1000, rel=1e-4), "ml")
        assert values["Maximum 3D Diameter"] == (pytest.approx(one.measures.extent, rel=1e-4), "mm")
    with pytest.raises(UserError, match="add --components"):
        written(source, "dicom-sr", tmp_path / "no", backend=Volumes("segment"))
