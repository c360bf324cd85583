"""Text of a DICOM header as Unicode, whatever Specific Character Set (0008,0005) its file declares (PS3.5 6.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from medzoo.errors import UserError
from medzoo.io.dicom.headers import walk

UTF8 = "ISO_IR 192"
TEXT = ("LO", "LT", "PN", "SH", "ST", "UC", "UT")
# Groups whose attributes an object derived from an image repeats: patient, study, trial, visit, procedure.
REPEATED = (0x0008, 0x0010, 0x0012, 0x0032, 0x0038, 0x0040)
DEFAULT = ("", "ISO IR 6", "ISO 2022 IR 6")  # ASCII, as `_plain` writes them
GB2312 = "\x1b$)A"  # an escape sequence that pydicom obeys and leaves in the text
HINT = "repair Specific Character Set (0008,0005), or choose another --format"


def as_utf8(head: Any, where: str) -> Any:
    """Decode the text of `head` in place and declare it as ISO_IR 192 (UTF-8); returns it.

    Text that no character set is declared for is read as UTF-8 where it is valid UTF-8. Raises UserError for text
    that cannot be read: a name is never guessed.
    """
    import pydicom  # noqa: F401  (the whole first: threads import at once)
    from pydicom.charset import python_encoding

    declared = [_plain(name) for name in _declared(head) or ()]
    python_encoding.setdefault("ISO_IR 203", "iso8859_15")  # Latin alphabet No. 9, which pydicom does not list
    known = {_plain(name): name for name in python_encoding}
    unknown = False
    for dataset in (head, *_nested(head)):
        unknown = unknown or any(_plain(name) not in known for name in _declared(dataset) or ())
        names = [known.get(_plain(name), "ISO_IR 6") for name in _declared(dataset) or ()]
        if names:  # as the standard spells them, which pydicom needs
            dataset.SpecificCharacterSet = names if len(names) > 1 else names[0]
    head.decode()
    _check(head, declared, where, unknown=unknown)
    for item in _nested(head):
        item.pop("SpecificCharacterSet", None)
    head.SpecificCharacterSet = UTF8
    return head


def _check(dataset: Any, inherited: Sequence[str], where: str, *, unknown: bool) -> None:
    """Refuse text that was decoded wrongly, in a dataset and the items of its sequences."""
    own = _declared(dataset)
    names = inherited if own is None else [_plain(name) for name in own]
    undeclared = (not names or names[0] in DEFAULT) and "ISO 2022 IR 100" not in names
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                _check(item, names, where, unknown=unknown)
        if element.VR not in TEXT or element.tag.group not in REPEATED or not element.value:
            continue
        text = "\\".join(map(str, element.value)) if element.VM > 1 else str(element.value)
        if text.isascii() and "\x1b" not in text:
            continue
        if GB2312 in text and "ISO 2022 IR 58" in names:
            text = text.replace(GB2312, "")
            element.value = _value(text, element.VR)
        if unknown:
            raise UserError(f"{element.keyword} is written in an unknown character set", where, HINT)
        if "\ufffd" in text or "\x1b" in text:
            raise UserError(f"{element.keyword} is not written in the character set that is declared", where, HINT)
        if undeclared and any("\x80" <= letter <= "\xff" for letter in text):
            element.value = _undeclared(text, element, where)


def _declared(dataset: Any) -> list[str] | None:
    """The names in Specific Character Set; None where it is absent, and that of the dataset around it holds."""
    value = dataset.get("SpecificCharacterSet")
    if value is None and "SpecificCharacterSet" not in dataset:
        return None
    return [str(one) for one in ([value] if isinstance(value, str) else value or [])]


def _plain(name: str) -> str:
    """Normalise common misspellings of a character set's name: "ISO-IR 100", "iso_ir_100", "ISO IR 100"."""
    return re.sub(r"[\s_-]+", " ", name.strip().upper())


def _undeclared(text: str, element: Any, where: str) -> Any:
    try:
        text = text.encode("latin-1").decode("utf-8")
    except UnicodeError as error:
        raise UserError(f"{element.keyword} is not ASCII and no character set is declared", where, HINT) from error
    return _value(text, element.VR)


def _value(text: str, representation: str) -> Any:
    import pydicom  # noqa: F401  (the whole first: threads import at once)
    from pydicom.valuerep import PersonName

    values = [PersonName(one) if representation == "PN" else one for one in text.split("\\")]
    return values if len(values) > 1 else values[0]


def _nested(dataset: Any) -> list[Any]:
    """Every item of the sequences of a dataset, at any depth."""
    return [item for element in walk(dataset) if element.VR == "SQ" for item in element.value]
