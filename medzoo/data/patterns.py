"""Paths found by a pattern with places in braces, such as "{patient}/{name}.nii.gz"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from medzoo.data.hidden import is_hidden
from medzoo.errors import UserError

_PLACE = re.compile(r"\{(\w+)\}")


def placeholders(pattern: str) -> list[str]:
    """Names of the places in a pattern, in order."""
    return _PLACE.findall(pattern)


def check_placeholders(image: str, others: Mapping[str, str], *, example: str) -> list[str]:
    """The places of the pattern of images. Raises UserError if it has none, or if another pattern (by its field) has
    one that it has not."""
    names = placeholders(image)
    if not names:
        raise UserError("has no placeholder in braces", "data.image", f'write "{example}"')
    for field, pattern in others.items():
        unknown = set(placeholders(pattern)) - set(names)
        if unknown:
            raise UserError(f"{{{sorted(unknown)[0]}}} is not in data.image", f"data.{field.split('.')[0]}")
    return names


def fill_pattern(pattern: str, values: Mapping[str, str]) -> str:
    """The pattern with a value in each of its places."""
    return _PLACE.sub(lambda match: values[match[1]], pattern)


def match_files(root: Path, pattern: str, *, beside: str | None = None) -> dict[str, dict[str, str]]:
    """The places' values by path below `root`, sorted; a place holds no slash, and the same one the same value.
    Hidden files are left out.

    `beside`: a pattern of files that belong to others and are left out ("{name}.png" fits "a_mask.png" too). Raises
    UserError if no file fits.
    """
    expression = re.escape(pattern)
    for name in dict.fromkeys(placeholders(pattern)):
        brace = re.escape(f"{{{name}}}")
        expression = expression.replace(brace, f"(?P<{name}>[^/]+)", 1).replace(brace, f"(?P={name})")
    below = [path.relative_to(root).as_posix() for path in sorted(root.glob(_PLACE.sub("*", pattern)))]
    if not is_hidden(pattern):  # a pattern may name a folder such as .cache itself
        below = [name for name in below if not is_hidden(name)]
    found = {name: match.groupdict() for name in below if (match := re.fullmatch(expression, name))}
    others = {fill_pattern(beside, values) for values in found.values()} if beside else set()
    found = {name: values for name, values in found.items() if name not in others}
    if not found:
        raise UserError(f"no file matches {pattern!r}", str(root), "check data.image")
    return found
