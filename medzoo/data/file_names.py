"""Names of files in datasets.

Patterns with placeholders, such as "{patient}/{name}.nii.gz"; hidden files, which systems and editors leave beside data
and which are never samples; short, distinct names of samples.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath

from medzoo.errors import UserError
from medzoo.io.formats import stem

# Beside all that begins with a dot (macOS `._name` and `.DS_Store`, Jupyter's `.ipynb_checkpoints`, `.git`, ...).
_LEFT_BEHIND = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "lost+found"}


def is_hidden(path: PurePath | str, *, root: PurePath | None = None) -> bool:
    """True where the name of a file, or of a folder around it below `root`, marks it as no part of the data.

    Without `root` all parts of `path` count, so a relative path is expected.
    """
    below = PurePath(path).relative_to(root) if root is not None else PurePath(path)
    names = (part for part in below.parts if part not in (".", "..", below.anchor))
    return any(name.startswith(".") or name.lower() in _LEFT_BEHIND for name in names)


def refuse_hidden(name: str, where: str) -> None:
    """Raises UserError, placed at `where`, for a listed file that `is_hidden`."""
    if is_hidden(name):
        raise UserError(f"lists {name!r}, which is a hidden file and not a sample", where, "remove it from the list")


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


def distinct_names(paths: Sequence[Path], root: Path, *, short: Callable[[Path], str]) -> list[str]:
    """A name for each of `paths`: `short` of it if these differ, else the path below `root` without its suffix, and
    with it where only the suffix differs. The same path always has the same name."""
    different = len(set(paths))
    names = [short(path) for path in paths]
    if len(set(names)) == different:
        return names
    below = [Path(os.path.relpath(path, root)) for path in paths]
    names = [path.with_name(stem(path)).as_posix() for path in below]
    return names if len(set(names)) == different else [path.as_posix() for path in below]
