"""Names of samples after their files: short where that tells them apart, else with their folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from medzoo.io.formats import stem


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
