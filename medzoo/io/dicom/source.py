"""The DICOM headers that an image was read from, for objects that refer to it; with or without the patient."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from medzoo.errors import UserError
from medzoo.io.dicom.headers import read_dataset, walk
from medzoo.types import Image

# Attributes of patient and study that objects derived from an image repeat (PS3.3 C.7.1.1, C.7.2.1), and those
# of them that PS3.15's basic profile empties.
IDENTIFYING = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize", "PatientWeight",
    "OtherPatientIDs", "OtherPatientIDsSequence", "OtherPatientNames", "PatientAddress", "PatientTelephoneNumbers",
    "PatientComments", "PatientBirthTime", "EthnicGroup", "Occupation", "AdditionalPatientHistory", "IssuerOfPatientID",
    "StudyDate", "StudyTime", "SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime", "ContentDate",
    "ContentTime", "AccessionNumber", "StudyID", "StudyDescription", "SeriesDescription", "ReferringPhysicianName",
    "PerformingPhysicianName", "NameOfPhysiciansReadingStudy", "OperatorsName", "RequestingPhysician",
    "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName", "StationName", "DeviceSerialNumber",
)  # fmt: skip
EMPTY_NOT_ABSENT = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
    "StudyID", "ReferringPhysicianName",
)  # fmt: skip


def source_headers(image: Image, *, deidentify: bool = False) -> list[Any]:
    """The header of every file of a DICOM image in the order of its slices, pixels left out.

    `deidentify`: without who and when, and with every UID but those of the standard exchanged for one that is
    drawn from it, the same each time. Raises UserError for an image that does not come from DICOM files.
    """
    where = image.source or "image"
    if image.meta.get("format") != "dicom":
        raise UserError("does not come from DICOM, so there is no study to add to", where, "choose another --format")
    heads = [_head(str(name)) for name in image.meta["files"]]
    for head in heads:
        if not head.get("StudyInstanceUID") or not head.get("SOPInstanceUID") or not head.get("SOPClassUID"):
            raise UserError("its header lacks the UIDs that a derived object refers to", where)
        for key in EMPTY_NOT_ABSENT:  # present but empty where they are missing (type 2)
            if key not in head:
                setattr(head, key, "")
    return [deidentified(head) for head in heads] if deidentify else heads


def deidentified(head: Any) -> Any:
    """A header without who and when, in place; its UIDs exchanged consistently."""
    import pydicom  # noqa: F401  (the whole first: threads import at once)
    from pydicom.uid import UID, generate_uid

    for key in IDENTIFYING:
        if key in EMPTY_NOT_ABSENT:
            setattr(head, key, "")
        elif key in head:
            delattr(head, key)
    head.PatientIdentityRemoved, head.DeidentificationMethod = "YES", "medzoo: basic profile of PS3.15"
    for element in walk(head):
        if element.VR == "UI" and element.value and not UID(str(element.value)).startswith("1.2.840.10008."):
            element.value = generate_uid(prefix="2.25.", entropy_srcs=[str(element.value)])
    return head


def _head(name: str) -> Any:
    path, _, entry = name.partition(".zip!")
    if not entry:
        return read_dataset(Path(name), name, stop_before_pixels=True)
    with zipfile.ZipFile(f"{path}.zip") as archive, archive.open(entry) as handle:
        import io

        return read_dataset(io.BytesIO(handle.read()), name, stop_before_pixels=True)
