"""Escape text from outside (file names, DICOM text, labels, messages of libraries) before it is printed or written.

A name may hold whatever a file system allows: bytes that are no UTF-8, new lines that would forge a line of output,
ANSI escapes that a terminal obeys, marks that turn the reading direction. `escaped` shows each of them, `json_text`
keeps them in JSON. Knows nothing of the rest of medzoo.
"""

from __future__ import annotations

import html
import json
import re
import unicodedata
from functools import cache
from typing import Any

# Joiners within words (Persian, Indic scripts, emoji); they move nothing else.
_JOINERS = "\u200c\u200d"
_ESCAPE = re.compile(r"\\(?=x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def escaped(name: str) -> str:
    r"""Escape a name to one printable line; two different names never look the same.

    A byte that is no UTF-8 (as `os.fsdecode` gives it) and an ASCII control character become \xHH, any other control,
    format or separator character of Unicode \uHHHH or \UHHHHHHHH, in lower case. A backslash stands for itself, unless
    what follows would make it look like one of these: then it is \x5c.
    """
    return printable(_ESCAPE.sub(r"\\x5c", name))


def printable(line: str, *, keep: str = "") -> str:
    """Escape control characters of a line whose names are escaped already. `keep`: characters that stay."""
    if line.isprintable():
        return line
    return "".join(char if char in keep else _shown(char) for char in line)


def html_text(text: str, *, keep: str = "") -> str:
    """Escape text for HTML: markup, and what `printable` escapes. `keep`: characters that stay.

    A page is static, but a name with marks of the reading direction would still show another one there.
    """
    return html.escape(printable(text, keep=keep))


@cache
def _shown(char: str) -> str:
    if char in _JOINERS or unicodedata.category(char) not in _UNSAFE:
        return char
    number = ord(char)
    if 0xDC80 <= number <= 0xDCFF:  # PEP 383: a byte
        return f"\\x{number - 0xDC00:02x}"
    if number < 0x80:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def json_text(document: Any, *, indent: int | None = None, ascii_only: bool = False, **options: Any) -> str:
    """Serialise to JSON (RFC 8259) that is safe to print; names read back from it are the same, byte for byte.

    Lone surrogates, which stand for bytes that are no UTF-8, and characters that a terminal obeys are written as
    JSON's own escapes. `options` go to `json.dumps`.
    """
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only, **options)
    if text.replace("\n", "").isprintable():
        return text
    return "".join(char if char == "\n" or _shown(char) == char else _in_json(char) for char in text)


def _in_json(char: str) -> str:
    number = ord(char)
    if number < 0x10000:
        return f"\\u{number:04x}"
    return f"\\u{0xD800 + (number - 0x10000 >> 10):04x}\\u{0xDC00 + (number & 0x3FF):04x}"


def replace_unsafe(name: str, by: str = "_") -> str:
    """Replace every character that `escaped` would escape by `by`, for the name of an output file."""
    return name if name.isprintable() else "".join(char if _shown(char) == char else by for char in name)


def csv_cell(text: str) -> str:
    """Text from outside for a CSV file: one printable line, and never a formula."""
    return escape_formula(escaped(text))


def escape_formula(words: str) -> str:
    """Words that a spreadsheet would take for a formula, as they begin with =, +, - or @ (or one of these at full
    width), behind an apostrophe, which makes them text (OWASP, CSV Injection); so are words behind an apostrophe."""
    return f"'{words}" if is_formula(words) or words.startswith("'") else words


def is_formula(words: str) -> bool:
    """True if a spreadsheet could take words for a formula."""
    return words.startswith(("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"))
