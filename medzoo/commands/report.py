"""`medzoo report`: a model folder as one HTML page."""

from __future__ import annotations

from pathlib import Path

from medzoo.artifact import MANIFEST, ModelFolder
from medzoo.artifact.environment import installed_version
from medzoo.artifact.locate import find_model
from medzoo.errors import UserError
from medzoo.io.atomic import atomic_write, protect_inputs
from medzoo.report.page import VOLUMES, render_page, viewer_bundle


def report(model: str | Path, *, out: str | Path | None = None) -> tuple[Path, str | None]:
    """Write the page of a model folder to `out` (default NAME.html here): its path, and a word on what it lacks.

    Raises UserError if MODEL is no folder, differs from its manifest, or the page cannot be written.
    """
    path = find_model(model)
    if not path.is_dir():
        raise UserError(
            "is an ONNX file, which has no metrics to report", where=str(path), hint="give the model folder"
        )
    folder = ModelFolder.open(path)
    target = Path(out or f"{folder.name}.html")
    protect_inputs(target, *(path / name for name in (*folder.manifest["files"], MANIFEST)))
    page = render_page(folder, version=installed_version("medzoo") or "")
    atomic_write(target, lambda file: file.write(page.encode()))
    volumes = any(name in folder.manifest["files"] for name in VOLUMES.values())
    lacks = (
        "the viewer of volumes is not installed (a checkout's `make viewer` brings it), so the page has pictures alone"
    )
    return target, lacks if volumes and viewer_bundle() is None else None
