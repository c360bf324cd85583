"""Text from outside in tables: one printable line, and never a formula to a spreadsheet."""

from __future__ import annotations

from medzoo.escape import escaped


def cell(text: str) -> str:
    """Text from outside for a CSV file: one printable line, and never a formula."""
    return as_text(escaped(text))


def as_text(words: str) -> str:
    """Words that a spreadsheet would take for a formula, as they begin with =, +, - or @ (or one of these at full
    width), behind an apostrophe, which makes them text (OWASP, CSV Injection); so are words behind an apostrophe."""
    return f"'{words}" if is_formula(words) or words.startswith("'") else words


def is_formula(words: str) -> bool:
    """True if a spreadsheet could take words for a formula."""
    return words.startswith(("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"))
