"""Atomic writes: an output file is complete or absent."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from medzoo.errors import UserError

_BESIDE = re.compile(r"\.[0-9a-f]{12}\.(.+)")  # what `atomic_path` calls a file until it is whole


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same suffix); renamed to `path` if the block succeeds, else removed.

    Missing parent folders are made. A link is followed, so that it goes on pointing at the new file.
    Raises UserError naming `path` where the system refuses (full disk, no permission, a folder of that name).
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file() and not target.is_dir():
        yield target  # a device or a pipe: nothing can be renamed onto it
        return
    beside = target.with_name(f".{secrets.token_hex(6)}.{target.name}")
    try:
        if target.is_dir():
            raise IsADirectoryError(None, "a folder of this name is there already")
        target.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        beside.replace(target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"cannot be written: {reason}", where=str(_blocking(path)), hint="choose another place"
        ) from error
    finally:
        with suppress(OSError):
            beside.unlink()


def _blocking(path: str | Path) -> Path:
    """The file in the place of one of the parent folders of `path`, else `path`."""
    return next((one for one in Path(path).parents if one.exists() and not one.is_dir()), Path(path))


def protect_inputs(path: str | Path, *inputs: str | Path | None) -> None:
    """Refuse to overwrite one of `inputs`, also through another path or link.

    Raises UserError. Inputs that are None or no file are ignored.
    """
    for one in inputs:
        try:
            same = one is not None and Path(one).is_file() and Path(path).exists() and Path(path).samefile(one)
        except (OSError, ValueError):
            same = False
        if same:
            raise UserError(
                "is one of the inputs and would be overwritten", where=str(path), hint="choose another name"
            )


def remove_unfinished(bases: Iterable[Path]) -> None:
    """Remove the temporary files that killed processes left beside files whose names begin with one of `bases`."""
    names: dict[Path, set[str]] = {}
    for base in bases:
        names.setdefault(base.parent, set()).add(base.name)
    for folder, wanted in names.items():
        for beside in folder.iterdir() if folder.is_dir() else ():
            found = _BESIDE.match(beside.name)
            if found and any(found[1][:end] in wanted for end in range(1, len(found[1]) + 1)):
                with suppress(OSError):
                    beside.unlink()


def atomic_write(path: str | Path, write: Callable[[BinaryIO], object]) -> Path:
    """Write a new file through `write` and rename it to `path`; returns `path`. Raises UserError."""
    with atomic_path(path) as beside, beside.open("wb") as handle:
        write(handle)
        handle.flush()
        if beside.is_file():
            os.fsync(handle.fileno())
    return Path(path)
