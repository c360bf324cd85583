"""A token in every attribute of a DICOM header, in names of files and folders: nowhere in what --deidentify leaves."""

from __future__ import annotations

import gzip
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image as Pillow
from PIL import PngImagePlugin
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from medzoo.commands.predict import predict_files
from medzoo.errors import UserError
from medzoo.io.deidentify import Deidentifier
from medzoo.io.dicom.deidentify import deidentified
from medzoo.runtime.predictor import Failure, Predictor
from tests.unit.commands.test_outputs import Flat
from tests.unit.io.test_io_dicom_sources import enhanced
from tests.unit.io.test_io_geometry import Through, as_dicom, body

ROOT = Path(__file__).resolve().parents[3]
TOKEN, NUMBER, DAY = "Zylinski", "480815162", "19510629"  # so many digits that no random UID has them
SECRETS = (TOKEN, TOKEN.upper(), NUMBER, DAY)
MODULES = (
    "patient", "general-study", "patient-study", "clinical-trial-subject", "clinical-trial-study",
    "clinical-trial-series", "general-series", "general-equipment", "frame-of-reference", "general-acquisition",
    "general-image", "specimen", "sop-common", "acquisition-context", "synchronization",
)  # fmt: skip
FORMS = (
    ("segment", "auto"), ("segment", "nifti"), ("segment", "csv"), ("segment", "png"), ("segment", "dicom-seg"),
    ("detect", "auto"), ("detect", "csv"), ("detect", "png"), ("detect", "dicom-sr"),
)  # fmt: skip


def value_of(keyword: str) -> Any:
    """The value to plant in an attribute of this name: the token, in the form of its value representation."""
    vr = dictionary_VR(keyword).split(" or ")[0]
    return {
        "DA": DAY, "DT": f"{DAY}101010", "TM": "195106.29", "AS": "071Y", "DS": NUMBER, "IS": NUMBER,
        "SH": f"{TOKEN}{NUMBER}"[:16], "CS": TOKEN.upper(), "AE": TOKEN, "PN": f"{TOKEN}^Marta",
        "UI": f"1.2.{NUMBER}.9", "AT": 0x00100010, "UR": f"http://{TOKEN}",
        "US": 4808, "SS": 4808, "UL": int(NUMBER), "SL": int(NUMBER), "FD": float(NUMBER), "FL": float(NUMBER),
        "OB": f"{TOKEN} ".encode(), "OW": f"{TOKEN} ".encode(), "UN": f"{TOKEN} ".encode(),
    }.get(vr, f"{TOKEN} {keyword}"[:60])  # fmt: skip


def plant(dataset: Dataset) -> int:
    """Fill every attribute of the modules that `dataset` does not have yet, nested ones and private ones too."""
    tables = pytest.importorskip(
        "highdicom._standard_utils", reason="highdicom (extra dicom) has the standard's tables"
    )
    attributes = [one for name in MODULES for one in tables.get_module_attribute_map()[name]]
    planted = 0
    own = {element.keyword for element in dataset}
    for one in sorted(attributes, key=lambda one: len(one["path"])):
        keyword = one["keyword"]
        if tag_for_keyword(keyword) is None or (not one["path"] and keyword in own):
            continue
        place = dataset
        for step in one["path"]:
            if step not in place or not place[step].value:
                setattr(place, step, [Dataset()])
            place = place[step].value[0]
        if dictionary_VR(keyword) == "SQ":
            item = Dataset()
            item.PatientName, item.CodeMeaning, item.PatientBirthDate = f"{TOKEN}^Marta", TOKEN, DAY
            setattr(place, keyword, [item])
        else:
            setattr(place, keyword, value_of(keyword))
        planted += 1
    block = dataset.private_block(0x0011, f"{TOKEN.upper()} TEST", create=True)
    block.add_new(1, "LO", TOKEN)
    inner = Dataset()
    inner.PatientName = TOKEN
    block.add_new(2, "SQ", [inner])
    return planted


def planted_series(folder: Path) -> Path:
    source = as_dicom(folder, *body())
    named = folder / f"{TOKEN}_Marta"
    source.rename(named)
    for path in sorted(named.iterdir()):
        dataset = pydicom.dcmread(path)
        assert plant(dataset) > 250
        dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = f"{TOKEN}^Marta", NUMBER, DAY
        dataset.save_as(path)
        path.rename(named / f"{TOKEN}_{path.name}")
    return named


def texts(raw: bytes, path: Path) -> bytes:
    """The bytes of a file with what is packed in it unpacked."""
    if raw[:2] == b"\x1f\x8b":
        raw += gzip.decompress(raw)
    if raw[:4] == b"\x89PNG":
        with Pillow.open(path) as picture:
            picture.load()
            raw += repr((picture.info, dict(picture.getexif()))).encode()
    return raw


def found_in(folder: Path, secrets: tuple[str, ...] = SECRETS) -> list[str]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    assert paths
    return [
        f"{secret} in {path.name}"
        for path in paths
        for secret in secrets
        if secret.encode() in texts(path.read_bytes(), path) + str(path.relative_to(folder)).encode()
    ]


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted_series(tmp_path_factory.mktemp("planted"))


@pytest.mark.parametrize(("task", "form"), FORMS)
def test_nothing_of_a_header_is_in_an_output(series: Path, tmp_path: Path, task: str, form: str) -> None:
    pytest.importorskip("highdicom", reason="highdicom (extra dicom) writes SEG and SR")
    dates = {element.value for path in series.iterdir() for element in pydicom.dcmread(path) if element.VR == "UI"}
    uids = tuple(str(uid) for uid in dates if not str(uid).startswith("1.2.840.10008"))
    (answer,) = predict_files(
        Predictor(Through(task)),  # type: ignore[arg-type]
        [str(series)], out=tmp_path, form=form, deidentify=True,
    )  # type: ignore[arg-type]  # fmt: skip
    assert not isinstance(answer, Failure), answer.error
    assert not found_in(tmp_path, (*SECRETS, *uids))
    for path in tmp_path.glob("*.dcm"):
        made = pydicom.dcmread(path)
        assert made.PatientIdentityRemoved == "YES"
        assert made.LongitudinalTemporalInformationModified == "REMOVED"
        assert made.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
        assert (made.PatientName, made.PatientID, made.PatientBirthDate, made.StudyDate) == ("", "", "", "")


def test_the_same_headers_are_kept_without_it(series: Path, tmp_path: Path) -> None:
    """The token gets as far as the writers: it is the option that keeps it from the outputs."""
    pytest.importorskip("highdicom", reason="highdicom (extra dicom) writes SEG and SR")
    for path in series.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.PatientSex = "F"
        dataset.save_as(path)
    (answer,) = predict_files(Predictor(Through("segment")), [str(series)], out=tmp_path, form="dicom-seg")  # type: ignore[arg-type]
    assert not isinstance(answer, Failure), answer.error
    assert found_in(tmp_path)


def test_frames_of_one_file(tmp_path: Path) -> None:
    """Functional groups are an allow list of their own."""
    pytest.importorskip("highdicom", reason="highdicom (extra dicom) writes SEG and SR")
    one = enhanced()
    one.StudyInstanceUID, one.FrameOfReferenceUID = generate_uid(), generate_uid()
    one.PixelData = np.random.default_rng(3).integers(0, 3, 6 * 20, np.int16).tobytes()  # labels
    for groups in one.SharedFunctionalGroupsSequence:
        del groups.PixelValueTransformationSequence
    plant(one)
    for groups in (*one.SharedFunctionalGroupsSequence, *one.PerFrameFunctionalGroupsSequence):
        plant(groups)
        for element in list(groups):
            for item in element.value if element.VR == "SQ" else []:
                item.PatientName, item.PatientComments = TOKEN, TOKEN
    source = tmp_path / f"{TOKEN}.dcm"
    one.save_as(source, enforce_file_format=True)
    (answer,) = predict_files(
        Predictor(Through("segment")), [str(source)], out=tmp_path / "out", form="dicom-seg", deidentify=True
    )  # type: ignore[arg-type]
    assert not isinstance(answer, Failure), answer.error
    assert not found_in(tmp_path / "out")


def test_headers_of_other_formats(tmp_path: Path) -> None:
    folder = tmp_path / TOKEN
    folder.mkdir()
    scan = nib.Nifti1Image(*body())
    for field in ("descrip", "db_name", "aux_file", "intent_name"):
        scan.header[field] = TOKEN
    scan.header.extensions.append(nib.nifti1.Nifti1Extension("comment", TOKEN.encode()))
    nib.save(scan, folder / f"{TOKEN}.nii.gz")
    (answer,) = predict_files(
        Predictor(Through("segment")), [str(folder / f"{TOKEN}.nii.gz")], out=tmp_path / "a", deidentify=True
    )  # type: ignore[arg-type]
    assert not isinstance(answer, Failure), answer.error
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("Comment", TOKEN)
    rng = np.random.default_rng(1)
    for name in ("a", "b"):
        Pillow.fromarray(rng.integers(0, 255, (64, 64), np.uint8)).save(folder / f"{TOKEN}{name}.png", pnginfo=chunks)
    pictures = sorted(str(path) for path in folder.glob("*.png"))
    for form in ("coco", "csv", "auto", "png"):
        done = list(predict_files(Predictor(Flat()), pictures, out=tmp_path / form, form=form, deidentify=True))  # type: ignore[arg-type]
        assert not any(isinstance(answer, Failure) for answer in done)
        assert not found_in(tmp_path / form)
    assert not found_in(tmp_path / "a")


def test_the_command_says_no_name(tmp_path: Path, series: Path) -> None:
    """Results, failures of several kinds and errors before the first input: stdout and stderr."""
    folder = tmp_path / TOKEN
    folder.mkdir()
    rng = np.random.default_rng(2)
    Pillow.fromarray(rng.integers(0, 255, (96, 96), np.uint8)).save(folder / f"{TOKEN}.png")
    broken = folder / f"{TOKEN}-2.png"
    broken.write_bytes((folder / f"{TOKEN}.png").read_bytes()[:300])
    several = folder / "several"
    for number, name in enumerate((f"{TOKEN} breast", "White Marta")):
        (several / f"{TOKEN}{number}").mkdir(parents=True)
        uid = generate_uid()
        for path in series.iterdir():
            dataset = pydicom.dcmread(path)
            dataset.SeriesInstanceUID, dataset.SeriesDescription = uid, name
            dataset.save_as(several / f"{TOKEN}{number}" / path.name)
    with zipfile.ZipFile(folder / f"{TOKEN}.zip", "w") as archive:
        for path in sorted(series.iterdir())[::2]:
            archive.write(path, path.name)
        archive.write(sorted(series.iterdir())[1], f"more/{TOKEN}.dcm")
    inputs = [
        folder / f"{TOKEN}.png",
        broken,
        several,
        folder / f"{TOKEN}.zip",
        folder / f"{TOKEN}-missing.png",
        series,
    ]
    command = [sys.executable, "-m", "medzoo", "predict", ROOT / "zoo/breast-lesion-rcnn"]
    for given in (
        [*inputs],
        [*inputs, "--json"],
        [*inputs, "--format", "csv"],
        [folder / f"{TOKEN}.png", "-o", folder],
    ):
        out = [] if "-o" in given else ["-o", folder / "out"]
        done = subprocess.run(
            [str(part) for part in [*command, *given, *out, "--deidentify"]], capture_output=True, text=True
        )
        said = done.stdout + done.stderr
        assert not [secret for secret in (*SECRETS, "White", "Marta") if secret in said], said
        assert "Traceback" not in said
        if "-o" not in given:
            assert done.returncode == 2
            for number in range(1, 7):
                assert f"image-000{number}" in said
            assert "holds 2 series" in said
    assert not found_in(folder / "out")


def test_uids_are_the_same_within_a_run_and_no_digest_of_the_old() -> None:
    one, other = generate_uid(), generate_uid()
    assert Deidentifier.uid(one) == Deidentifier.uid(one) != Deidentifier.uid(other)
    assert Deidentifier.uid(one) != str(generate_uid(prefix="2.25.", entropy_srcs=[str(one)]))
    code = f"from medzoo.io.deidentify import Deidentifier; print(Deidentifier.uid({str(one)!r}))"
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert again.startswith("2.25.")
    assert len(again) <= 64
    assert again != Deidentifier.uid(one)


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("its units are Zylinski, not BQML", "its units are ..., not BQML"),
        ("two slices have the same position: Zylinski_01.dcm, Zylinski_02.dcm", "two slices have the same position: "),
        ("it is of 'white matter' and of 29.06.1951, number 480815", "it is of ... and of ..., number ..."),
        ("its header claims 128 x 96 pixels, 12 bytes", "its header claims 128 x 96 pixels, 12 bytes"),
    ],
)
def test_words_of_an_error_are_medzoos_own(message: str, kept: str) -> None:
    error = Deidentifier(["/data/scan"]).error(UserError(message, "/data/scan/a.dcm"), 2)
    assert str(error).startswith("image-0003: " + kept)
    assert "Zylinski" not in str(error)
    assert "without --deidentify the file is named" in str(error)


def test_a_sop_class_of_ones_own_is_refused() -> None:
    head = Dataset()
    head.SOPClassUID = "1.2.3.4"
    with pytest.raises(UserError, match="SOP class"):
        deidentified(head, Deidentifier.uid, "a.dcm")
