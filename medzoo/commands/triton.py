"""`medzoo export --to triton`: a Triton model repository from a model folder, a pipeline or an .onnx file."""

from __future__ import annotations

from pathlib import Path

from medzoo.artifact import ModelFolder
from medzoo.commands.locate import find_model
from medzoo.export.triton import write_pipeline, write_repository
from medzoo.runtime.metadata import Precision, graph_file


def export_triton(model: str | Path, *, out: str | Path | None = None, precision: Precision = "fp32") -> Path:
    """Write the model's folders (of a pipeline: also its members' graphs) into `out` (default: triton) and return it.

    Raises UserError.
    """
    path = find_model(model)
    repository = Path(out or "triton")
    if not path.is_dir():
        write_repository(path, repository)
        return repository
    folder = ModelFolder.open(path)
    if "members" in folder.manifest:
        from medzoo.commands.compose import pipeline_members

        members = pipeline_members(folder)
        graphs = {role: member.file(graph_file(precision)) for role, member in members.items()}
        write_pipeline(folder.name, graphs, repository)
    else:
        write_repository(folder.file(graph_file(precision)), repository)
    return repository
