"""Names and labels in every character set: kept in SEG and SR, which are written as ISO_IR 192, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from medzoo.errors import UserError
from medzoo.io import read_image
from medzoo.io.dicom.charset import as_utf8
from medzoo.io.dicom.codes import type_code
from tests.unit.io.test_io_dicom import save, slices

pytest.importorskip("highdicom", reason="highdicom (extra dicom) writes SEG and SR")

# Examples of PS3.5 annexes H, I, J and K, and European ones.
NAMES = [
    (["ISO_IR 100"], "Äneas^Rüdiger", "latin-1"),
    (["ISO_IR 101"], "Wałęsa^Lech", "iso8859-2"),
    (["ISO_IR 144"], "Люксембург", "iso8859-5"),
    (["ISO_IR 126"], "Διονυσιος", "iso8859-7"),
    (["ISO_IR 127"], "قباني^لنزار", "iso8859-6"),
    (["ISO_IR 138"], "שרון^דבורה", "iso8859-8"),
    (["ISO_IR 166"], "สมชาย^ใจดี", "tis-620"),
    (["ISO_IR 203"], "Cœur^Žofie€", "iso8859-15"),
    (["ISO_IR 192"], "Wang^XiaoDong=王^小东", "utf-8"),
    (["GB18030"], "Wang^XiaoDong=王^小东", "gb18030"),
    (["GBK"], "Wang^XiaoDong=王^小东", "gbk"),
    (["ISO_IR 13"], "ﾔﾏﾀﾞ^ﾀﾛｳ", "shift_jis"),
]
ESCAPED = [
    (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう",
     b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"),
    (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎",
     b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J"),
    (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동",
     b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"),
    (["", "ISO 2022 IR 58"], "Zhang^XiaoDong=张^小东",
     b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab"),
    (["ISO 2022 IR 6", "ISO 2022 IR 100"], "Buc^Jérôme", b"Buc^\x1b-AJ\xe9r\xf4me"),
    (["ISO-IR 100"], "Äneas", "Äneas".encode("latin-1")),
    (["ISO 2022 IR 100", "ISO 2022 IR 144"], "Dionysios=Люк", b"Dionysios=\x1b-L" + "Люк".encode("iso8859-5")),
    ([], "Äneas^Ünal", "Äneas^Ünal".encode()),
]  # fmt: skip


def series(folder: Path, names: list[str], raw: bytes) -> Path:
    """A series whose headers hold `raw` as the patient's name, byte by byte."""
    made, study, frame = slices(), generate_uid(), generate_uid()
    place = b"X" * (len(raw) + len(raw) % 2)
    for d in made:
        d.StudyInstanceUID, d.FrameOfReferenceUID, d.PatientID = study, frame, "1"
        d.SliceThickness = 2.5
        d.PatientName = place.decode()
        if names:
            d.SpecificCharacterSet = names if len(names) > 1 else names[0]
    save(folder, made)
    for path in folder.glob("*.dcm"):
        path.write_bytes(path.read_bytes().replace(place, raw.ljust(len(place))))
    return folder


def written(folder: Path, labels: tuple[str, ...] = ("none", "tissue", "Läsion 病变")) -> list[Dataset]:
    from medzoo.io.dicom.segmentation import write_segmentation
    from medzoo.io.dicom.structured_report import write_report

    image = read_image(folder)
    mask = (np.arange(image.array[0].size).reshape(image.shape) % 3).astype(np.uint8)
    said = {"model": "m", "version": "1"}
    seg = write_segmentation(folder.parent / "seg.dcm", mask, image, labels, **said)
    boxes = np.array([[0, 0, 0, 2, 2, 2], [1, 1, 1, 3, 3, 3]], float)
    report = write_report(folder.parent / "sr.dcm", boxes, np.array([0.5, 0.75]), labels[1:], image, **said)
    return [pydicom.dcmread(seg), pydicom.dcmread(report)]


@pytest.mark.parametrize(("names", "name", "raw"), [(n, t, t.encode(e)) for n, t, e in NAMES] + ESCAPED)
def test_names_are_kept(tmp_path: Path, names: list[str], name: str, raw: bytes) -> None:
    for made in written(series(tmp_path / "ct", names, raw)):
        assert made.SpecificCharacterSet == "ISO_IR 192"
        assert str(made.PatientName) == name


@pytest.mark.parametrize(
    ("names", "raw", "words"),
    [
        (["ISO_IR 999"], "Äneas".encode("latin-1"), "unknown character set"),
        (["KLINGON", "ISO 2022 IR 87"], "Äneas".encode("latin-1"), "unknown character set"),
        (["ISO_IR 192"], "Äneas".encode("latin-1"), "not written in the character set"),
        ([], "Äneas".encode("latin-1"), "no character set is declared"),
        (["ISO_IR 100"], b"Yamada=\x1b$B;3ED\x1b(B", "not written in the character set"),
    ],
)
def test_names_that_cannot_be_read_are_not_guessed(tmp_path: Path, names: list[str], raw: bytes, words: str) -> None:
    folder = series(tmp_path / "ct", names, raw)
    with pytest.raises(UserError, match=f"PatientName is .*{words}") as caught:
        written(folder)
    assert "0008,0005" in str(caught.value)
    assert not list(tmp_path.glob("*.dcm"))


def test_an_unknown_set_matters_only_where_it_is_used(tmp_path: Path) -> None:
    for made in written(series(tmp_path / "ct", ["ISO_IR 999"], b"Doe^Jane")):
        assert str(made.PatientName) == "Doe^Jane"


def test_nested_text_is_decoded_too() -> None:
    head, item = slices()[0], Dataset()
    item.SpecificCharacterSet, item.PatientName = "ISO_IR 100", "Äneas"
    head.OtherPatientIDsSequence = [item]
    as_utf8(head, "a.dcm")
    assert head.SpecificCharacterSet == "ISO_IR 192"
    assert "SpecificCharacterSet" not in head.OtherPatientIDsSequence[0]
    assert str(head.OtherPatientIDsSequence[0].PatientName) == "Äneas"


def test_labels_of_any_script_keep_a_code_of_their_own() -> None:
    labels = ["病变", "结节", "опухоль", "left hippocampus anterior", "left hippocampus posterior", "Läsion", "L sion"]
    values = [type_code(label)[0] for label in labels]
    assert len(set(values)) == len(labels)
    assert all(len(value) <= 16 and value.isascii() for value in values)
    assert type_code("grey-matter")[0] == "GREY_MATTER"
