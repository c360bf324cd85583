"""`medzoo export --to triton`: a Triton model repository from a model folder or an .onnx file."""

from __future__ import annotations

from pathlib import Path

from medzoo.artifact import ModelFolder
from medzoo.commands.locate import find_model
from medzoo.commands.model import Precision
from medzoo.export.triton import write_repository


def export_triton(model: str | Path, *, out: str | Path | None = None, precision: Precision = "auto") -> Path:
    """Write the model's two folders into `out` (default: triton) and return it. Raises UserError."""
    path = find_model(model)
    if path.is_dir():
        name = "model.onnx" if precision in ("auto", "fp32") else f"model.{precision}.onnx"
        path = ModelFolder.open(path).file(name)
    repository = Path(out or "triton")
    write_repository(path, repository)
    return repository
