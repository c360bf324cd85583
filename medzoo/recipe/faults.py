"""Collects everything that is wrong with a recipe, and says it in order. Knows no schema."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from medzoo.errors import Fault, UserError
from medzoo.recipe.tree import Path, Place

_MOST_NAMES = 12


class Faults:
    """All faults of one recipe; false as long as there is none."""

    def __init__(self) -> None:
        self._found: dict[tuple[Place, str, str], Fault] = {}

    def add(self, place: Place, path: Path, message: str, hint: str | None = None) -> None:
        """One fault at `place`, about the field at `path` (empty: about the whole)."""
        words = f"{dotted_path(path)}: {message}" if path else message
        self._found.setdefault((place, dotted_path(path), words), Fault(words, str(place), hint))

    def at(self, place: Place, path: Path) -> bool:
        """True if a fault of the field at `path`, at `place`, is already recorded."""
        return any(key[:2] == (place, dotted_path(path)) for key in self._found)

    def __bool__(self) -> bool:
        return bool(self._found)

    def error(self) -> UserError:
        """All faults as one error, by their places."""
        return UserError.of([self._found[key] for key in sorted(self._found, key=lambda key: key[0])])


def dotted_path(path: Path) -> str:
    """`path` as it is typed in an override, such as preprocess.host.0.op."""
    return ".".join(_part(part) for part in path)


def _part(part: str | int) -> str:
    text = str(part)
    return text if text and text.isprintable() and "." not in text and " " not in text else repr(text)


def quote_value(value: Any) -> str:
    """A value as a message quotes it, in one short piece."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else value[:37] + "...")
    if isinstance(value, int | float):
        return repr(value)
    return "a mapping" if isinstance(value, dict) else "a list"


def suggestion(word: str, names: Iterable[str]) -> str | None:
    """The hint "did you mean 'x'?", or None where nothing is near."""
    close = difflib.get_close_matches(word, list(names), n=1)
    return f"did you mean {close[0]!r}?" if close else None


def suggestion_or_all(word: str, names: Sequence[str]) -> str:
    """`suggestion`, or what there is to choose from."""
    rest = ", ..." if len(names) > _MOST_NAMES else ""
    known = ", ".join(sorted(names)[:_MOST_NAMES]) or "none"
    return suggestion(word, names) or f"known: {known}{rest}"
