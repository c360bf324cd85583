"""Outputs without patient and date: the one place that decides which parts of an input may appear in them.

It is an allow list throughout. An answer is called by its number; of an image's header only what a writer needs
goes on; a word of an error stays only if medzoo itself says it somewhere; DICOM objects are derived from headers
that hold geometry and exchanged UIDs alone (medzoo.io.dicom.deidentify).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import zipfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path, PurePath
from typing import Any

from medzoo.errors import Fault, UserError
from medzoo.types import Image

# What writers and pictures need of an image's header: numbers, fixed words, and the files that a DICOM object is
# derived from, which are opened and not told.
FACTS = (
    "format", "bits", "assumed", "notes", "blanked", "burnt_in", "modality", "window", "files", "frames", "frame",
    "qform", "qform_code", "sform_code", "nifti", "exif_orientation",
)  # fmt: skip
HIDDEN = "..."
WAY = "without --deidentify the file is named"
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`")
_DATE = re.compile(r"\d+(?:[./:-]\d+){2,}")
_WORD = re.compile(r"\w+")
_KEY = secrets.token_bytes(32)  # of this process, and kept nowhere: nobody can go back from a UID
_DIGITS = 4  # of the longest number that is kept: sizes and counts, no dates, no patient's number


class Deidentifier:
    """Names, UIDs and errors of the `inputs` of one run."""

    def __init__(self, inputs: Sequence[str] = ()) -> None:
        self._inputs = tuple(inputs)

    @staticmethod
    def uid(uid: str) -> str:
        """Replace a UID, consistently within this process (PS3.15 E.1, PS3.5 B.2)."""
        digest = hmac.new(_KEY, str(uid).strip().encode(), hashlib.sha256).digest()
        return f"2.25.{int.from_bytes(digest[:16], 'big')}"

    @staticmethod
    def name(number: int) -> PurePath:
        """Name of the result of input `number` (from 0) and of its files."""
        return PurePath(f"image-{number + 1:04d}")

    @classmethod
    def result(cls, answer: Mapping[str, Any], number: int) -> dict[str, Any]:
        """The answer of input `number` as JSON has it, called by its number; its files without their folder."""
        shown = {**answer, "input": str(cls.name(number))}
        if "mask" in shown:
            shown["mask"] = PurePath(shown["mask"]).name
        return shown

    @staticmethod
    def image(image: Image) -> Image:
        """The image with the allowed header facts alone."""
        return image.replace(meta={key: value for key, value in image.meta.items() if key in FACTS})

    def error(self, error: UserError, number: int | None = None) -> UserError:
        """The error without names, dates and values of the input `number`; the input is called by its number."""
        where = str(self.name(number)) if number is not None else None
        own = self._inputs if number is None else self._inputs[number : number + 1]
        private = [piece for text in own for piece in _names(text)]
        return UserError.of([_redacted_fault(fault, where, own, private) for fault in error.faults])


def _redacted_fault(fault: Fault, where: str | None, own: Sequence[str], private: Sequence[str]) -> Fault:
    place = fault.where if fault.where is not None and fault.where.startswith("--") else where
    hint = _redacted(fault.hint, private) if fault.hint else None
    if fault.where not in (None, place, *own):
        hint = f"{hint}; {WAY}" if hint else WAY
    return Fault(_redacted(fault.message, (*private, *fault.private)), place, hint)


def _redacted(text: str, private: Sequence[str]) -> str:
    """Remove from `text` the parts in `private`, quotations, dates, and words unknown to medzoo's source."""
    for piece in sorted({one for one in private if len(one) > 2}, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(piece)}(?!\w)", HIDDEN, text, flags=re.IGNORECASE)
    text = _DATE.sub(HIDDEN, _QUOTED.sub(HIDDEN, text))
    return re.sub(r"(?:\.\.\.[\s./]*){2,}", f"{HIDDEN} ", _WORD.sub(_allow_word, text)).strip()


def _allow_word(word: re.Match[str]) -> str:
    text = word[0]
    if text.isdecimal():
        return text if len(text) <= _DIGITS else HIDDEN
    return text if text.lower() in _vocabulary() else HIDDEN


@cache
def _vocabulary() -> frozenset[str]:
    """Every word of medzoo's source in lower case."""
    words: set[str] = set()
    for path in Path(__file__).resolve().parents[1].rglob("*.py"):
        words.update(word.lower() for word in re.findall(r"[A-Za-z]+", path.read_text(encoding="utf-8")))
    return frozenset(words)


def _names(text: str) -> list[str]:
    """All names of an input: as typed, resolved, and the files in its folder or archive."""
    found = [text, *text.split(","), *text.split("#")]
    for one in tuple(found):
        path = Path(one)
        found += [str(path), path.name]
        try:
            found.append(str(path.resolve()))
            if path.is_dir():
                found += [piece for p in path.rglob("*") for piece in (p.name, str(p.relative_to(path)))]
            elif zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    found += [piece for e in archive.namelist() for piece in (e, PurePath(e).name)]
        except (OSError, ValueError, zipfile.BadZipFile):
            continue
    return found
