"""Pydantic's errors in short plain words, at places of a tree. Knows no particular model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from medzoo.recipe.faults import Faults, quote_value, suggestion
from medzoo.recipe.fields import key_of, known_keys
from medzoo.recipe.tree import Node, Path, Table, child, place_of, plain

# What a value must be, by pydantic's type of error (without _type, _parsing and the like).
_WANTED = {
    "int": "a whole number",
    "float": "a number",
    "finite_number": "a finite number",
    "string": "text",
    "path": "a path",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "frozen_set": "a list",
    "iterable": "a list",
    "dict": "a mapping",
    "mapping": "a mapping",
    "model": "a mapping",
    "dataclass": "a mapping",
    "none_required": "null",
}
_BOUNDS = {
    "greater_than": "greater than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "string_too_short": "at least {min_length} characters long",
    "string_too_long": "at most {max_length} characters long",
}
_SUFFIX = re.compile(r"_(type|parsing|parsing_size|from_float|attributes_type|exact_type|sub_type|unicode)$")


def report_validation_error(
    error: ValidationError,
    root: Node,
    at: Path,
    model: type[BaseModel],
    faults: Faults,
    *,
    words: Mapping[str, str],
    extra_keys: Sequence[str] = (),
) -> list[Path] | None:
    """Adds what pydantic says about the value at path `at` of `root`, checked by `model`, to `faults`.

    `words`: regular expressions in plain words. `extra_keys`: keys beside the model's own, to suggest.
    Returns the paths of the unknown keys if nothing else is wrong, otherwise None.
    """
    unknown: list[Path] = []
    values: dict[Path, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        path = (*at, *_inside(root, at, model, detail))
        if detail["type"] == "extra_forbidden":
            unknown.append(path)
            key, parent = str(path[-1]), path[:-1]
            names = [*known_keys(model, path[len(at) : -1]), *(extra_keys if parent == at else ())]
            faults.add(place_of(root, path, key=True), path, "unknown key", suggestion(key, names))
        else:
            values.setdefault(path, []).append(detail)
    for path, details in values.items():
        place = place_of(root, path)
        if not faults.at(place, path):
            faults.add(place, path, *_word_errors(details, root, path, words))
    return None if values else unknown


def _inside(root: Node, at: Path, model: type[BaseModel], detail: ErrorDetails) -> Path:
    """Pydantic's location without what is no part of the document (names of a union's branches)."""
    node: Node | None = root
    for part in at:
        node = child(node, part)
    path: list[str | int] = []
    location = detail["loc"]
    for index, part in enumerate(location):
        below = child(node, part)
        if below is not None:
            path.append(part)
            node = below
        elif detail["type"] == "missing" and index == len(location) - 1:
            path.append(key_of(model, tuple(path), part))
    return tuple(path)


def _word_errors(
    details: list[ErrorDetails], root: Node, path: Path, words: Mapping[str, str]
) -> tuple[str, str | None]:
    """The message and hint for all errors of one value (several where it may be one thing or another)."""
    if any(detail["type"] == "missing" for detail in details):
        return "is missing", None
    wanted: list[str] = []
    choices: list[str] = []
    for detail in details:
        choices += _choices(detail)
        phrase = _requirement(detail, words)
        if phrase is None:
            return _own_sentence(detail), None
        if phrase not in wanted:
            wanted.append(phrase)
    if "a number" in wanted and "a whole number" in wanted:
        wanted.remove("a whole number")
    value = _value(root, path)
    hint = suggestion(value, choices) if isinstance(value, str) else None
    return f"must be {' or '.join(wanted)}, not {quote_value(value)}", hint


def _requirement(detail: ErrorDetails, words: Mapping[str, str]) -> str | None:
    """The demand of an error as words after "must be"; None where the error is no such demand."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in ("literal_error", "enum"):
        names = _choices(detail)
        return ("one of " if len(names) > 1 else "") + ", ".join(names) if names else str(context.get("expected"))
    if kind == "union_tag_invalid":
        return "one of " + ", ".join(_choices(detail))
    if kind == "string_pattern_mismatch":
        return words.get(context["pattern"], f"text that matches {context['pattern']}")
    if kind in _BOUNDS:
        return _BOUNDS[kind].format(**{name: _number(value) for name, value in context.items()})
    return _WANTED.get(kind) or _WANTED.get(_SUFFIX.sub("", kind))


def _choices(detail: ErrorDetails) -> list[str]:
    context = detail.get("ctx", {})
    expected = str(context.get("expected") or context.get("expected_tags") or "")
    return (
        re.findall(r"'([^']*)'", expected) if detail["type"] in ("literal_error", "enum", "union_tag_invalid") else []
    )


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) and abs(value) < 1e6 else str(value)


def _own_sentence(detail: ErrorDetails) -> str:
    """Errors that are sentences of their own."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in ("too_short", "too_long"):
        bound = context["min_length"] if kind == "too_short" else context["max_length"]
        many = "item" if bound == 1 else "items"
        return f"must have at {'least' if kind == 'too_short' else 'most'} {bound} {many}"
    if kind == "union_tag_not_found":
        return f"{str(context['discriminator']).strip(chr(39))} is missing"
    message = detail["msg"]
    for start, instead in (
        ("Value error, ", ""),
        ("Assertion failed, ", ""),
        ("Input should be ", "must be "),
    ):
        if message.startswith(start):
            return instead + message[len(start) :]
    return message[:1].lower() + message[1:] if message[1:2].islower() else message


def _value(root: Node, path: Path) -> Any:
    node: Node | None = root
    for part in path:
        node = child(node, part)
    return None if node is None else {} if isinstance(node, Table) else plain(node)
