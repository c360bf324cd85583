"""A patient planted into headers and into pixels: nothing of them in any log, manifest, model folder or output, but in
SEG and SR without --deidentify, which are the patient's own."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont, PngImagePlugin
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

from medzoo.commands.predict import predict_files
from medzoo.commands.train import train
from medzoo.io import read_image
from medzoo.results import Failure
from medzoo.runtime.predictor import Predictor
from tests.unit.commands.test_outputs import Flat
from tests.unit.imaging.test_text_lines import tissue
from tests.unit.io.test_io_geometry import Through, as_dicom, body

ROOT = Path(__file__).resolve().parents[3]
NAME, NUMBER, BORN = "Zylinski^Marta", "PID-480815", "19510629"
SECRETS = ("Zylinski", "Marta", "480815", BORN, "Referrer", "Anstalt", "29.06.1951", "ZYLINSKI")


def plant(dataset: pydicom.Dataset) -> None:
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = NAME, NUMBER, BORN
    dataset.OtherPatientNames, dataset.PatientComments = "Marta Zylinski", f"Zylinski, born {BORN}"
    dataset.ReferringPhysicianName, dataset.InstitutionName = "Referrer^Dr", "Anstalt 480815"
    dataset.StudyDescription = dataset.SeriesDescription = "Zylinski breast"
    dataset.AccessionNumber, dataset.ImageComments = "480815", "for Marta Zylinski"
    block = dataset.private_block(0x0011, "MEDZOO TEST", create=True)
    block.add_new(1, "LO", NAME)


@pytest.fixture
def series(tmp_path: Path) -> Path:
    folder = as_dicom(tmp_path, *body())
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        plant(dataset)
        dataset.save_as(path)
    return folder


def capture(path: Path, *, text: str = "", declared: bool = False) -> Path:
    """A DICOM secondary capture, with `text` in its pixels."""
    picture = Pillow.fromarray(tissue(3))
    ImageDraw.Draw(picture).text((20, 30), text, 255, font=ImageFont.load_default(20))
    made = pydicom.dcmread(as_dicom(path.parent, *body()) / "00.dcm")
    for key in ("PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "FrameOfReferenceUID"):
        delattr(made, key)
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = SecondaryCaptureImageStorage
    made.Modality, made.SOPInstanceUID, made.ConversionType = "US", generate_uid(), "WSD"
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    plant(made)
    made.Rows, made.Columns = picture.height, picture.width
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    made.PixelData = picture.tobytes()
    if declared:
        made.BurnedInAnnotation = "YES"
    made.save_as(path)
    return path


def marked_png(path: Path, seed: int) -> Path:
    """A PNG with the patient in its chunks and in its EXIF."""
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("Patient", NAME)
    chunks.add_text("Comment", f"{NUMBER} {BORN}", zip=True)
    exif = Pillow.Exif()
    exif[0x010E] = NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(tissue(seed)).save(path, pnginfo=chunks, exif=exif)
    return path


def told(folder: Path) -> list[str]:
    """Every secret in a file below `folder`, gzip and PNG chunks opened."""
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        raw = path.read_bytes()
        if path.suffix == ".gz":
            raw += gzip.decompress(raw)
        if path.suffix in (".png", ".jpg"):
            with Pillow.open(path) as picture:
                picture.load()
                raw += repr((picture.info, dict(picture.getexif()))).encode()
        found += [f"{secret} in {path.name}" for secret in SECRETS if secret.encode() in raw + path.name.encode()]
    return found


@pytest.mark.parametrize("deidentify", [False, True])
def test_outputs_of_a_series(series: Path, tmp_path: Path, deidentify: bool) -> None:
    pytest.importorskip("highdicom", reason="highdicom (extra dicom) writes SEG and SR")
    scan = tmp_path / "scan.nii.gz"
    image = nib.Nifti1Image(*body())
    image.header["descrip"], image.header["db_name"], image.header["aux_file"] = NAME, NUMBER, BORN
    nib.save(image, scan)
    for task, form, source in (
        ("segment", "auto", series), ("segment", "nifti", scan), ("segment", "csv", series), ("detect", "csv", scan),
        ("detect", "auto", series), ("segment", "dicom-seg", series), ("detect", "dicom-sr", series),
    ):  # fmt: skip
        out = tmp_path / "out" / f"{task}-{form}"
        (answer,) = predict_files(
            Predictor(Through(task)), [str(source)], out=out, form=form, deidentify=deidentify, pictures=True
        )  # type: ignore[arg-type]
        assert not isinstance(answer, Failure), answer.error
        assert "Zylinski" not in json.dumps(answer.to_dict())
        if "dicom" in form and not deidentify:
            (made,) = (pydicom.dcmread(p) for p in out.glob("*.dcm"))
            assert (made.PatientName, made.PatientID, made.PatientBirthDate) == (NAME, NUMBER, BORN)
            next(out.glob("*.dcm")).unlink()
        assert any(out.rglob("*"))
        assert not told(out), (task, form)


@pytest.mark.parametrize("form", ["coco", "csv", "auto", "png"])
def test_outputs_of_a_picture(tmp_path: Path, form: str) -> None:
    pictures = [marked_png(tmp_path / f"{n}.png", n) for n in range(2)]
    answers = list(
        predict_files(Predictor(Flat()), [str(p) for p in pictures], out=tmp_path / "out", form=form, pictures=True)
    )  # type: ignore[arg-type]
    assert not any(isinstance(answer, Failure) for answer in answers)
    assert len(list((tmp_path / "out").glob("*.png"))) == 2
    assert not told(tmp_path / "out")


def test_text_in_a_capture_is_blanked_in_its_picture(tmp_path: Path) -> None:
    source = capture(tmp_path / "a.dcm", text="ZYLINSKI, MARTA 29.06.1951")
    shown, hidden = tmp_path / "shown", tmp_path / "hidden"
    (plain,) = predict_files(Predictor(Flat()), [str(source)], out=shown, form="png")
    (answer,) = predict_files(Predictor(Flat()), [str(source)], out=hidden, form="png", deidentify=True)
    assert "blanked" not in plain.to_dict()
    assert "text was found burnt in and is blanked" in answer.to_dict()["blanked"]
    before = np.asarray(Pillow.open(shown / "a.png").convert("L")).astype(int)
    after = np.asarray(Pillow.open(hidden / "image-0001.png").convert("L")).astype(int)
    assert before.shape == after.shape
    assert (before != after).mean() < 0.35
    assert (before > 240).sum() > 4 * (after > 240).sum()  # the letters are gone
    assert not told(hidden)
    assert not told(shown)


def test_text_that_a_header_declares_and_that_is_not_found_is_refused(tmp_path: Path) -> None:
    source = capture(tmp_path / "a.dcm", declared=True)
    assert read_image(source).meta["burnt_in"] is True
    (failure,) = predict_files(Predictor(Flat()), [str(source)], out=tmp_path / "out", deidentify=True)
    assert isinstance(failure, Failure)
    assert "Burned In Annotation" in str(failure.error)
    assert "--no-pictures" in str(failure.error)
    assert not any((tmp_path / "out").rglob("*"))
    (answer,) = predict_files(Predictor(Flat()), [str(source)], out=tmp_path / "out", deidentify=True, pictures=False)
    assert not isinstance(answer, Failure)


def test_the_command_says_nothing_of_the_patient(tmp_path: Path) -> None:
    """With a header whose values break the standard, about which pydicom would warn with the values."""
    source = capture(tmp_path / "a.dcm", text="ZYLINSKI MARTA")
    dataset = pydicom.dcmread(source)
    with pytest.warns(UserWarning, match="exceeds the maximum|Invalid value"):
        dataset.PatientBirthDate, dataset.PatientID = "29.06.1951", f"{NUMBER} " * 9
    dataset.save_as(source)
    broken = tmp_path / "b.dcm"
    broken.write_bytes(source.read_bytes()[:-5000])
    command = [sys.executable, "-m", "medzoo", "predict", ROOT / "zoo/breast-lesion-rcnn", source, broken]
    for more in ([], ["--deidentify"], ["--json"], ["--format", "dicom-sr"]):
        out = tmp_path / ("sr" if "dicom-sr" in more else "out")
        done = subprocess.run([str(part) for part in [*command, "-o", out, *more]], capture_output=True, text=True)
        assert done.returncode == 2, done.stderr  # one of the two is cut off
        assert ("image-0002" if more == ["--deidentify"] else "b.dcm") in done.stderr
        said = done.stdout + done.stderr
        assert not [secret for secret in SECRETS if secret in said], said
        assert ("is blanked in its picture" in said) == (more == ["--deidentify"])
    assert not told(tmp_path / "out")


def test_text_is_blanked_in_what_goes_with_a_model(tmp_path: Path) -> None:
    from medzoo.evaluation.worst import _blank_burnt_in

    lettered = read_image(capture(tmp_path / "a.dcm", text="ZYLINSKI, MARTA 29.06.1951"))
    shown = _blank_burnt_in(lettered)
    assert shown is not None
    assert (lettered.array > 240).sum() > 500
    assert not (shown.array > 240).any()
    (tmp_path / "b").mkdir()
    assert _blank_burnt_in(read_image(capture(tmp_path / "b/a.dcm", declared=True))) is None
    (tmp_path / "c").mkdir()
    plain = read_image(capture(tmp_path / "c/a.dcm"))
    assert _blank_burnt_in(plain) is plain


RECIPE = """
medzoo: 1
name: planted
task: classify
labels: [cat, dog]
data: {{type: image-folder, root: {root}, split: {{group: image, given: true}}}}
model: {{type: lenet, size: [32, 32]}}
train: {{epochs: 1, batch: 4, max_steps: 2}}
"""


def test_a_model_folder_says_nothing_of_the_patients(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for number in range(18):
        part = "train" if number < 10 else "val" if number < 14 else "test"
        folder = tmp_path / "data" / part / ("cat" if number % 2 else "dog")
        marked_png(folder / f"p{number:02d}.png", number)
    recipe = tmp_path / "planted.yaml"
    recipe.write_text(RECIPE.format(root=tmp_path / "data"))
    train(recipe, out=tmp_path / "model")
    assert (tmp_path / "model" / "manifest.json").is_file() or any((tmp_path / "model").rglob("manifest.json"))
    assert not told(tmp_path / "model")
    captured = capfd.readouterr()
    assert not [secret for secret in SECRETS if secret in captured.out + captured.err]
