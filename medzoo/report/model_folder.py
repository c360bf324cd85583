"""Write model folders with the card that follows from their manifest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medzoo.artifact import ModelFolder, write_folder
from medzoo.report.card import render_card

CARD = "README.md"


def write_with_card(path: Path, files: Mapping[str, bytes | Path], manifest: Mapping[str, Any]) -> ModelFolder:
    """Write `files`, the manifest and its card to a model folder, all or nothing. Raises UserError."""
    return write_folder(path, {**files, CARD: render_card(manifest).encode()}, manifest)


def update_folder(
    folder: ModelFolder, *, files: Mapping[str, bytes | Path] | None = None, **changes: Any
) -> ModelFolder:
    """Replace fields of a folder's manifest and some of its files, and render its card again. Raises UserError."""
    manifest = {name: value for name, value in folder.manifest.items() if name != "files"} | changes
    kept: dict[str, bytes | Path] = {name: folder.file(name) for name in folder.manifest["files"]}
    return write_with_card(folder.path, {**kept, **(files or {})}, manifest)
