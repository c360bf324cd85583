"""Deidentified DICOM headers: an allow list of attributes (PS3.15 Annex E, basic profile).

What is not on the list does not go on, whatever its attribute, sequence or private block. Text of the source never
goes on: numbers are geometry, coded words are held against the words that the standard has, UIDs are exchanged.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable
from typing import Any

from medzoo.errors import UserError

# What they warn of, they quote too, and it may be a patient's name or number.
warnings.filterwarnings("ignore", module=r"(pydicom|highdicom)\.")
logging.getLogger("highdicom").setLevel(logging.CRITICAL)

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


def redact_message(error: BaseException) -> str:
    """The message of an error with all quotations removed but attribute names and value representations; others may
    hold a name, a number or a date of the patient."""
    return _QUOTED.sub(_known, str(error))


def _known(quoted: re.Match[str]) -> str:
    import pydicom  # noqa: F401  (the whole first: threads import at once)
    from pydicom.datadict import tag_for_keyword

    word = quoted[0][1:-1]
    known = re.fullmatch("[A-Z]{2}", word) or (word.isidentifier() and tag_for_keyword(word) is not None)
    return quoted[0] if known else "'...'"


EXCHANGED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
# Numbers that say how large an image is and where it lies, at the root and in functional groups.
NUMBERS = (
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PixelSpacing", "ImagerPixelSpacing", "SliceThickness", "SpacingBetweenSlices",
    "ImagePositionPatient", "ImageOrientationPatient", "LossyImageCompressionRatio",
)  # fmt: skip
WORDS = {
    "Modality": ("CR", "CT", "DX", "IO", "MG", "MR", "NM", "OP", "OPT", "PT", "RF", "SC", "US", "XA", "XC"),
    "PhotometricInterpretation": ("MONOCHROME1", "MONOCHROME2", "RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422"),
    "LossyImageCompression": ("00", "01"),
    "LossyImageCompressionMethod": ("ISO_10918_1", "ISO_14495_1", "ISO_15444_1", "ISO_13818_2", "ISO_14496_10"),
}
GROUPS = {
    "SharedFunctionalGroupsSequence": ("PixelMeasuresSequence", "PlaneOrientationSequence", "PlanePositionSequence"),
    "PerFrameFunctionalGroupsSequence": ("PixelMeasuresSequence", "PlaneOrientationSequence", "PlanePositionSequence"),
}
# Attributes of patient and study that must be there, empty (type 2).
EMPTY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
    "StudyID", "ReferringPhysicianName",
)  # fmt: skip
# The day and time of what must have one (type 1): no object was made then.
NO_DAY = {"DA": "19000101", "TM": "000000", "DT": "19000101000000"}
DATED = ("ContentDate", "ContentTime")


def deidentified(head: Any, exchange: Callable[[str], str], where: str) -> Any:
    """A new header with the allowed attributes of `head`; `exchange` replaces UIDs.

    Raises UserError for a SOP class that is not the standard's, which could not be referred to.
    """
    import pydicom  # noqa: F401  (the whole first: threads import at once)
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID_dictionary

    made = Dataset()
    made.file_meta = FileMetaDataset()
    syntax = head.file_meta.get("TransferSyntaxUID") if hasattr(head, "file_meta") else None
    if syntax in UID_dictionary:
        made.file_meta.TransferSyntaxUID = syntax
    if head.SOPClassUID not in UID_dictionary:
        raise UserError("its SOP class is not one of the standard's", where, "leave out --deidentify")
    made.SOPClassUID = str(head.SOPClassUID)
    for key in EXCHANGED:
        if head.get(key):
            setattr(made, key, exchange(str(head[key].value)))
    _copy_numbers(head, made)
    for key, words in WORDS.items():
        value = head.get(key)
        if value in words:
            setattr(made, key, str(value))
    made.setdefault("Modality", "OT")
    made.SpecificCharacterSet = "ISO_IR 192"
    turn = head.get("PatientOrientation") or ""
    if len(turn) == 2 and all(set(str(one)) <= set("LRAPHF") for one in turn):
        made.PatientOrientation = [str(one) for one in turn]
    for sequence, kinds in GROUPS.items():
        if head.get(sequence):
            setattr(made, sequence, [_groups(item, kinds) for item in head[sequence].value])
    for key in EMPTY:
        setattr(made, key, "")
    mark(made)
    return made


def mark(dataset: Any) -> None:
    """Record in a dataset that, and how, it was deidentified (PS3.3 C.7.1.1, PS3.15 E.1)."""
    import pydicom  # noqa: F401  (the whole first: threads import at once)
    from pydicom.dataset import Dataset

    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "medzoo: allow list, UIDs exchanged, dates removed"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = "113100", "DCM"
    code.CodeMeaning = "Basic Application Confidentiality Profile"
    dataset.DeidentificationMethodCodeSequence = [code]
    dataset.LongitudinalTemporalInformationModified = "REMOVED"


def without_time(dataset: Any) -> None:
    """Remove dates and times of creation at any depth; they may be the day of the scan."""
    mark(dataset)
    _without_time(dataset)


def _without_time(dataset: Any) -> None:
    for element in list(dataset):
        if element.VR == "SQ":
            for item in element.value:
                _without_time(item)
        elif element.VR in NO_DAY:
            if element.keyword in EMPTY:
                element.value = ""
            elif element.keyword in DATED or "ValueType" in dataset:
                element.value = NO_DAY[element.VR]
            else:
                del dataset[element.tag]


def _copy_numbers(source: Any, made: Any) -> None:
    for key in NUMBERS:
        value = source.get(key)
        if value is None or value == "":
            continue
        if isinstance(value, str | float | int):
            setattr(made, key, _number(float(value)))
        else:
            setattr(made, key, [_number(float(one)) for one in value])


def _groups(item: Any, kinds: tuple[str, ...]) -> Any:
    import pydicom  # noqa: F401  (the whole first: threads import at once)
    from pydicom.dataset import Dataset

    made = Dataset()
    for kind in kinds:
        if item.get(kind):
            inner = Dataset()
            _copy_numbers(item[kind].value[0], inner)
            setattr(made, kind, [inner])
    return made


def _number(value: float) -> Any:
    """Format a number for a decimal string, 16 characters at most (PS3.5 6.2)."""
    import pydicom  # noqa: F401  (the whole first: threads import at once)
    from pydicom.valuerep import DSfloat

    return int(value) if value == int(value) else DSfloat(value, auto_format=True)
