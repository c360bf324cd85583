"""Header fields that identify a patient: their names, never their values."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from medzoo.io import format_of

DICOM = (
    "PatientName", "PatientID", "PatientBirthDate", "OtherPatientIDs", "OtherPatientNames", "PatientAddress",
    "PatientTelephoneNumbers", "AccessionNumber", "ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName",
    "InstitutionName", "InstitutionAddress", "PatientComments",
)  # fmt: skip
EXIF = {0x010E: "ImageDescription", 0x013B: "Artist", 0x8298: "Copyright", 0x8825: "GPSInfo", 0x9286: "UserComment"}
HARMLESS = ("software", "date:create", "date:modify", "adobe", "progression", "compression")
MOST_LINES = 1 << 16  # bytes of a header in lines that are looked at
NIFTI_EXTENSIONS = {2: "a DICOM header as extension", 6: "a comment as extension"}


def identifying_fields(paths: Iterable[Path]) -> list[str]:
    """Names of the fields that are filled in the headers of an item's files; of a folder, in its first file."""
    found: dict[str, None] = {}
    for path in paths:
        if path.is_dir():
            path = min((p for p in path.iterdir() if p.is_file()), default=path)
        if path.is_file():
            found |= dict.fromkeys(_fields(path))
    return list(found)


def _fields(path: Path) -> list[str]:
    kind = format_of(path)
    if kind == "dicom":
        return _dicom(path)
    if kind == "nifti":
        return _nifti(path)
    if kind in ("nrrd", "metaimage"):
        return _lines(path)
    return _picture(path) if kind == "picture" else []


def _dicom(path: Path) -> list[str]:
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        header = dcmread(path, stop_before_pixels=True, specific_tags=list(DICOM))
        return [key for key in DICOM if str(header.get(key, "")).strip()]
    except (InvalidDicomError, OSError, ValueError):  # read elsewhere, and said there
        return []


def _nifti(path: Path) -> list[str]:
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        header: Any = nibabel.load(path).header
        text = [key for key in ("db_name", "intent_name") if key in header and bytes(header[key]).strip(b"\0 ")]
        codes = [int(extension.get_code()) for extension in getattr(header, "extensions", ())]
    except (ImageFileError, OSError, ValueError):
        return []
    return [key for key in text if key == "db_name"] + [
        NIFTI_EXTENSIONS[code] for code in codes if code in NIFTI_EXTENSIONS
    ]


def _lines(path: Path) -> list[str]:
    """Identifying fields of a header in lines (NRRD `key:=value`, MetaImage `key = value`): DICOM fields copied by ITK
    (0010|0010), and keys that name a patient."""
    import pydicom  # noqa: F401  (the whole first: threads import at once)
    from pydicom.datadict import keyword_for_tag

    with path.open("rb") as handle:
        text = handle.read(MOST_LINES).decode("latin-1")
    found = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("ElementDataFile"):
            break
        key, value = (part.strip() for part in re.split(r":=|=", line, maxsplit=1)) if "=" in line else ("", "")
        tag = re.fullmatch(r"([0-9a-fA-F]{4})\|([0-9a-fA-F]{4})", key)
        name = keyword_for_tag(int(tag[1] + tag[2], 16)) if tag else key
        if value and (name in DICOM or "patient" in name.lower()):
            found.append(name)
    return found


def _picture(path: Path) -> list[str]:
    from PIL import Image as Pillow

    try:
        with Pillow.open(path) as opened:
            exif = opened.getexif() if "exif" in opened.info or opened.format in ("TIFF", "MPO") else {}
            tags = [name for tag, name in EXIF.items() if exif.get(tag)]
            # What stands before the pixels; `text` would decode them.
            texts = [str(key) for key, value in opened.info.items() if isinstance(value, str)]
            words = [key for key in texts if key.lower() not in HARMLESS]
    except (OSError, ValueError, SyntaxError):
        return []
    return tags + [f"the text {key!r}" for key in words]
