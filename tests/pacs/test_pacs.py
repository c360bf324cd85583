"""medzoo against a real PACS: a series is fetched, predicted, and the result stored in its study and read back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medzoo.commands.predict import predict_files
from medzoo.io import read_labels
from medzoo.results import Failure
from medzoo.runtime.predictor import Predictor
from tests.unit.io.test_io_geometry import Through, as_dicom, stored, true_box

pytestmark = pytest.mark.long
pytest.importorskip("highdicom", reason="highdicom (extra dicom) writes what is stored")
web = pytest.importorskip("dicomweb_client.api", reason="dicomweb-client (extra dicom) speaks to the PACS")


def sent(folder: Path, server: str) -> tuple[str, Path]:
    """A series on the server: the address of its study."""
    import pydicom

    datasets = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    web.DICOMwebClient(f"http://{server}").store_instances(datasets)
    return f"dicomweb://{server}/studies/{datasets[0].StudyInstanceUID}", folder


def on_server(url: str, modality: str, folder: Path) -> Path:
    """The only object of a modality in a study, as a file."""
    base, _, study = url.removeprefix("dicomweb://").partition("/studies/")
    client = web.DICOMwebClient(f"http://{base}")
    found = [s for s in client.search_for_series(study) if s["00080060"]["Value"] == [modality]]
    assert len(found) == 1
    (dataset,) = client.retrieve_series(study, found[0]["0020000E"]["Value"][0])
    dataset.save_as(folder / "fetched.dcm")
    return folder / "fetched.dcm"


def test_a_segmentation_is_stored_and_its_pixels_are_the_masks(
    orthanc: str, tiny_model: Path, mni_t1: Path, tmp_path: Path
) -> None:
    from medzoo.io.dicom.segmentation import read_segmentation

    t1 = nib.load(mni_t1)
    part = np.asarray(t1.dataobj)[40:120, 60:150, 80:100].astype(np.int16)
    affine = t1.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [40, 60, 80]
    url, folder = sent(as_dicom(tmp_path, part, affine), orthanc)

    def predict(source: str, out: Path) -> dict:
        command = [sys.executable, "-m", "medzoo", "predict", str(tiny_model), source, "-o", str(out), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)[0]

    local = read_labels(predict(str(folder), tmp_path / "local")["mask"])
    answer = predict(url, tmp_path / "fetched")
    assert answer["input"] == url
    frames, affines, labels = read_segmentation(on_server(url, "SEG", tmp_path))
    assert labels == ["csf", "grey-matter", "white-matter"]
    found = np.zeros_like(local.array[0])
    for values, place in zip(frames, affines, strict=True):
        rows, columns = np.nonzero(values)
        points = place @ np.array([columns, rows, np.zeros_like(rows), np.ones_like(rows)], float)
        index = np.rint((np.linalg.inv(local.affine) @ points)[:3]).astype(int)
        found[tuple(index)] = values[rows, columns]
    assert len(np.unique(found)) == 4
    np.testing.assert_array_equal(found, local.array[0])


def test_detections_are_stored_as_a_report(orthanc: str, tmp_path: Path) -> None:
    from medzoo.io import read_image
    from medzoo.io.dicom.structured_report import finding_box, read_report
    from medzoo.types import boxes_to_mm

    array, affine = stored(((2, 0, 1), (1, -1, 1)))
    url, folder = sent(as_dicom(tmp_path, array, affine), orthanc)
    (answer,) = predict_files(Predictor(Through("detect")), [url], out=tmp_path / "out", pictures=False)
    assert not isinstance(answer, Failure), answer
    (finding,) = read_report(on_server(url, "SR", tmp_path))
    image = read_image(folder)
    box = finding_box(finding, image.affine)
    np.testing.assert_allclose(boxes_to_mm(box[None], image.affine)[0], true_box(), atol=1e-3)


def test_missing_or_ambiguous_names_give_one_line(orthanc: str, tmp_path: Path) -> None:
    array, affine = stored(((0, 1, 2), (1, 1, 1)))
    first, folder = sent(as_dicom(tmp_path, array, affine), orthanc)
    import pydicom
    from pydicom.uid import generate_uid

    for path in sorted(folder.iterdir()):
        d = pydicom.dcmread(path)
        d.SeriesInstanceUID, d.SOPInstanceUID = generate_uid(entropy_srcs=["other"]), generate_uid()
        d.file_meta.MediaStorageSOPInstanceUID = d.SOPInstanceUID
        d.SeriesDescription, d.SeriesNumber = "T1 axial", 7
        d.save_as(path)
    sent(folder, orthanc)
    predictor = Predictor(Through("segment"))
    bad = [first, first.rsplit("/", 1)[0] + "/1.2.3", "dicomweb://127.0.0.1:1/dicom-web/studies/1.2", "dicomweb://x"]
    answers = list(predict_files(predictor, [*bad, f"{first}#t1 axial"], out=tmp_path / "out", pictures=False))
    words = ["2 image series match", "", "the server did not send the series", "is not the address of a study"]
    for answer, word in zip(answers, words, strict=False):
        assert isinstance(answer, Failure)
        assert word in str(answer.error)
        assert "\n" not in str(answer.error)
    assert not isinstance(answers[-1], Failure), answers[-1]
