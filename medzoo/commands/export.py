"""`medzoo export`: a model folder's weights to ONNX again, through the parity gate."""

from __future__ import annotations

from pathlib import Path

from medzoo.artifact import ModelFolder
from medzoo.commands.locate import find_model
from medzoo.commands.model import torch_backend
from medzoo.commands.train import export_checked
from medzoo.errors import UserError
from medzoo.io.atomic import atomic_write
from medzoo.runtime.onnx_backend import OnnxBackend
from medzoo.runtime.parity import check_stored


def export(model: str | Path, *, out: str | Path | None = None) -> Path:
    """Write `out`/NAME.onnx (default: the current folder) from a model folder's recipe and safetensors.

    The graph is compared with torch on fresh probes and with the answers stored in the folder. Raises
    UserError, and leaves no file, if any differ.
    """
    path = find_model(model)
    if not path.is_dir():
        raise UserError("only a model folder can be exported again", where=str(path))
    folder = ModelFolder.open(path)
    backend = torch_backend(folder, device="cpu")
    target = Path(out or ".") / f"{folder.name}.onnx"
    exported = export_checked(backend.net, backend.metadata, [], where=str(target))
    check_stored(OnnxBackend(exported.onnx, where=str(target), device="cpu"), folder.file("golden.npz"))
    return atomic_write(target, lambda file: file.write(exported.onnx))
