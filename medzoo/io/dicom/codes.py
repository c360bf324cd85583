"""DICOM codes of labels: SNOMED CT where it has one, else a private code of medzoo."""

from __future__ import annotations

import hashlib
import re

# label -> (scheme, value, meaning) of a type, and whether it is tissue rather than an abnormality.
KNOWN: dict[str, tuple[str, str, str]] = {
    "lesion": ("SCT", "52988006", "Lesion"),
    "malignant": ("SCT", "86049000", "Neoplasm, Primary"),
    "benign": ("SCT", "20376005", "Neoplasm, Benign"),
    "nodule": ("SCT", "27925004", "Nodule"),
    "csf": ("SCT", "65216001", "Cerebrospinal fluid"),
    "white-matter": ("SCT", "68523003", "White matter"),
}
ABNORMAL = ("lesion", "malignant", "benign", "nodule")


def type_code(label: str) -> tuple[str, str, str]:
    """(value, scheme, meaning) of a label, in the order that highdicom takes."""
    if label in KNOWN:
        scheme, value, meaning = KNOWN[label]
        return value, scheme, meaning
    # A code value has at most 16 characters of ASCII; the meaning is the label itself.
    value = re.sub(r"[^A-Z0-9]+", "_", label.upper())
    if len(value) > 16 or not label.isascii():  # two labels must not come to one value
        value = f"{value[:9].rstrip('_') or 'LABEL'}_{hashlib.sha256(label.encode()).hexdigest()[:6].upper()}"
    return value or "LABEL", "99MEDZOO", label[:64]


def category_code(label: str) -> tuple[str, str, str]:
    """(value, scheme, meaning) of the category that a segment of this label belongs to."""
    if label in ABNORMAL:
        return "49755003", "SCT", "Morphologically Altered Structure"
    return "85756007", "SCT", "Tissue"
