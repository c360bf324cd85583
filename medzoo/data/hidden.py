"""Files that systems and editors leave beside data: hidden copies, checkpoints, thumbnails. They are never samples."""

from __future__ import annotations

from pathlib import PurePath

from medzoo.errors import UserError

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
