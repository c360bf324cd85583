"""Each kind of finding is reported for a planted case, and for that case alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Extension
from PIL import Image as Pillow
from PIL import PngImagePlugin
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from scipy.ndimage import gaussian_filter

from medzoo.data.audit.audit import audit
from medzoo.data.audit.header import identifying_fields
from medzoo.data.audit.report import Audit
from medzoo.data.dataset import Item, Sample
from medzoo.data.layouts import nifti_pairs
from medzoo.data.split import make_split
from medzoo.types import Array, Image


@dataclass(frozen=True)
class Section:
    group: str = "patient"
    given: bool = False
    train: float | None = None
    val: float = 0.2
    test: float = 0.2
    seed: int = 0
    stratify: bool = True
    folds: int | None = None
    fold: int | None = None


def named(found: Audit) -> set[tuple[str, str]]:
    """(kind, last two parts of the image's path) of all findings."""
    return {(f.kind, "/".join(Path(f.image).parts[-2:])) for f in found.findings}


def volume(seed: int) -> Array:
    draw = np.random.default_rng(seed)
    noise = sum(gaussian_filter(draw.standard_normal((24, 24, 24)), s) * s**1.5 for s in (1, 2, 5))
    return np.asarray(400 + 60 * noise, np.float32)


@pytest.fixture
def scans(tmp_path: Path) -> nifti_pairs.NiftiPairs:
    """Twelve scans of which six have one fault each."""
    for k in range(12):
        folder = tmp_path / f"p{k:02d}"
        folder.mkdir()
        affine = np.diag([1.0, 1.0, 1.2, 1.0])
        if k == 3:
            affine = np.diag([1.0, 1.0, 9.0, 1.0])
        array = volume(k) * (40 if k == 4 else 1)
        scan = nibabel.Nifti1Image(array, affine)
        if k == 5:
            scan.header["db_name"] = b"DOE^JANE"
        if k == 6:
            scan.header.extensions.append(Nifti1Extension(2, b"\x10\0\x10\0PN\x08\0DOE^JANE"))
        nibabel.save(scan, folder / "t1.nii.gz")
        mask = np.zeros((24, 24, 24), np.uint8)
        if k != 1:
            mask[6:12, 6:12, 6:12] = 1
        shifted = affine.copy()
        shifted[0, 3] += 4.0 * (k == 2)
        shape = (slice(None), slice(None), slice(0, 20 if k == 7 else 24))
        nibabel.save(nibabel.Nifti1Image(mask[shape], shifted), folder / "mask.nii.gz")
    params = nifti_pairs.Params(root=tmp_path, image="{patient}/t1.nii.gz", label="{patient}/mask.nii.gz")
    return nifti_pairs.ENTRY.open(params, "segment", ["background", "lesion"])  # type: ignore[return-value]


def test_faults_of_scans_are_told_apart(scans: nifti_pairs.NiftiPairs) -> None:
    found = audit(scans, make_split(scans.items(), Section()))  # type: ignore[arg-type]
    assert named(found) == {
        ("empty-mask", "p01/t1.nii.gz"),
        ("off-grid", "p02/t1.nii.gz"),
        ("spacing", "p03/t1.nii.gz"),
        ("intensity", "p04/t1.nii.gz"),
        ("header", "p05/t1.nii.gz"),
        ("header", "p06/t1.nii.gz"),
        ("off-grid", "p07/t1.nii.gz"),
    }
    text = {Path(f.image).parent.name: f.text for f in found.findings if f.kind in ("off-grid", "spacing", "header")}
    assert "4.00 mm off" in text["p02"]
    assert "24 x 24 x 20" in text["p07"]
    assert "1 x 1 x 9" in text["p03"]
    assert "db_name" in text["p05"]
    assert not any("DOE" in said for said in text.values())


@dataclass
class Textures:
    """Classes of pictures that differ by how coarse they are; some labels are exchanged, or all are random."""

    count: int = 120
    exchanged: tuple[int, ...] = ()
    by_lot: bool = False
    labels: tuple[str, ...] = field(default=("coarse", "fine"))

    def items(self) -> list[Item]:
        lots = np.random.default_rng(1).integers(0, 2, self.count)
        return [
            Item(
                f"{k}",
                {},
                {"patient": f"{k}"},
                self.labels[int(lots[k]) if self.by_lot else (k % 2) ^ (k in self.exchanged)],
            )
            for k in range(self.count)
        ]

    def load(self, item: Item) -> Sample:
        k = int(item.id)
        noise = gaussian_filter(np.random.default_rng(k).standard_normal((96, 96)), 1.2 if k % 2 else 4.0)
        picture = np.clip(110 + 35 * noise / noise.std(), 0, 255).astype(np.uint8)
        return Sample(item, Image(picture[None], None, item.id), self.labels.index(item.stratum))


def test_exchanged_labels_are_doubted_and_no_others() -> None:
    exchanged = (6, 31, 75, 100)
    data = Textures(exchanged=exchanged)
    found = audit(data, make_split(data.items(), Section()))  # type: ignore[arg-type]
    assert {int(f.image) for f in found.findings if f.kind == "label-noise"} == set(exchanged)
    words = next(f.text for f in found.findings if f.image == "6")
    assert words.startswith("is labelled fine, but looks like coarse")


def test_labels_that_looks_do_not_tell_are_not_doubted() -> None:
    data = Textures(by_lot=True)
    found = audit(data, make_split(data.items(), Section()))  # type: ignore[arg-type]
    assert not Counter(f.kind for f in found.findings)["label-noise"]


def test_a_rare_class_and_one_absent_from_a_part_are_reported() -> None:
    data = Textures(count=60, exchanged=tuple(range(1, 59, 2)))
    split = make_split(data.items(), Section(stratify=False, val=0.05, test=0.05))
    found = [f for f in audit(data, split).findings if f.kind == "class-balance"]  # type: ignore[arg-type]
    assert found[0].text == "59 images are coarse, only 1 are fine"
    assert {f.text for f in found[1:]} >= {"no fine in val"} or {f.text for f in found[1:]} >= {"no fine in test"}


def dicom(path: Path, **fields: str) -> Path:
    d = Dataset()
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.file_meta.MediaStorageSOPClassUID = d.SOPClassUID = CTImageStorage
    d.file_meta.MediaStorageSOPInstanceUID = d.SOPInstanceUID = generate_uid()
    for key, value in fields.items():
        setattr(d, key, value)
    d.save_as(path, enforce_file_format=True)
    return path


def test_headers_that_identify(tmp_path: Path) -> None:
    filled = dicom(tmp_path / "a.dcm", PatientName="DOE^JANE", PatientBirthDate="19700101", InstitutionName="General")
    assert identifying_fields([filled]) == ["PatientName", "PatientBirthDate", "InstitutionName"]
    assert identifying_fields([dicom(tmp_path / "b.dcm", PatientName="", Modality="CT")]) == []
    series = tmp_path / "series"
    series.mkdir()
    dicom(series / "1.dcm", PatientID="77")
    assert identifying_fields([series]) == ["PatientID"]
    words = PngImagePlugin.PngInfo()
    words.add_text("Patient", "DOE^JANE")
    Pillow.new("L", (8, 8)).save(tmp_path / "c.png", pnginfo=words)
    assert identifying_fields([tmp_path / "c.png"]) == ["the text 'Patient'"]
    exif = Pillow.Exif()
    exif[0x010E] = "DOE^JANE"
    Pillow.new("L", (8, 8)).save(tmp_path / "d.jpg", exif=exif)
    Pillow.new("L", (8, 8)).save(tmp_path / "e.png")
    assert identifying_fields([tmp_path / "d.jpg", tmp_path / "e.png"]) == ["ImageDescription"]


def test_headers_in_lines_that_identify(tmp_path: Path) -> None:
    """As ITK leaves them: it takes the DICOM header of a series along into the volume."""
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK (extra dev) writes the files of this test")
    image = sitk.GetImageFromArray(np.ones((3, 4, 5), np.int16))
    for name in ("clean.mha", "clean.nrrd"):
        sitk.WriteImage(image, str(tmp_path / name))
        assert identifying_fields([tmp_path / name]) == []
    for key, value in (("0010|0010", "DOE^JANE"), ("0010|0020", "4711"), ("0008|0060", "CT"), ("0010|0030", "")):
        image.SetMetaData(key, value)
    for name in ("filled.mha", "filled.nrrd"):
        sitk.WriteImage(image, str(tmp_path / name))
        assert sorted(identifying_fields([tmp_path / name])) == ["PatientID", "PatientName"], name
