"""`medzoo export --to triton`: a Triton model repository from a model folder or an .onnx file."""

from __future__ import annotations

from pathlib import Path

from medzoo.artifact import ModelFolder
from medzoo.commands.locate import find_model
from medzoo.export.triton import write_repository
from medzoo.runtime.metadata import Precision, graph_file


def export_triton(model: str | Path, *, out: str | Path | None = None, precision: Precision = "fp32") -> Path:
    """Write the model's two folders into `out` (default: triton) and return it. Raises UserError."""
    path = find_model(model)
    if path.is_dir():
        path = ModelFolder.open(path).file(graph_file(precision))
    repository = Path(out or "triton")
    write_repository(path, repository)
    return repository
