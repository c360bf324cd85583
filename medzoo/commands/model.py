"""`medzoo.load`: a model by name, folder or ONNX file, with the backend that was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medzoo.artifact import ModelFolder
from medzoo.commands.catalog import has_torch
from medzoo.commands.locate import find_model
from medzoo.errors import UserError, missing_extra
from medzoo.runtime.backend import Backend
from medzoo.runtime.onnx_backend import Device, OnnxBackend
from medzoo.runtime.predictor import Predictor
from medzoo.runtime.remote import RemoteBackend, is_url

if TYPE_CHECKING:
    from medzoo.nn.torch_backend import TorchBackend

BackendName = Literal["auto", "onnx", "torch"]
Precision = Literal["auto", "fp32", "fp16", "int8"]


def load(
    model: str | Path,
    *,
    backend: BackendName = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    threshold: float | None = None,
) -> Predictor:
    """A Predictor for MODEL: a zoo name, a model folder, an .onnx file, or a server's URL.

    Raises UserError if there is no such model, a file of it was changed, or the backend cannot be had.
    """
    if is_url(model):
        return Predictor(RemoteBackend(str(model)), threshold=threshold)
    path = find_model(model)
    return Predictor(open_backend(path, backend=backend, device=device, precision=precision), threshold=threshold)


def open_backend(
    path: Path, *, backend: BackendName = "auto", device: Device = "auto", precision: Precision = "auto"
) -> Backend:
    """The backend of a model folder (its digests are checked first) or of an .onnx file."""
    if path.is_file():
        if backend == "torch":
            raise UserError("an ONNX file does not run on torch", where=str(path), hint="give the model folder")
        return OnnxBackend(path, device=device)
    folder = ModelFolder.open(path)
    if backend == "torch":
        return torch_backend(folder, device=device)
    name = "model.onnx" if precision in ("auto", "fp32") else f"model.{precision}.onnx"
    return OnnxBackend(folder.file(name), device=device)


def torch_backend(folder: ModelFolder, *, device: Device = "auto") -> TorchBackend:
    """The net of a model folder, rebuilt from its recipe and safetensors."""
    if not has_torch():
        raise missing_extra("torch", "train")
    from medzoo.commands.catalog import Catalog
    from medzoo.nn.torch_backend import TorchBackend
    from medzoo.nn.weights import build_net, load_weights
    from medzoo.recipe import load_recipe
    from medzoo.runtime.onnx_backend import read_metadata

    recipe = load_recipe(folder.file("recipe.yaml"), catalog=Catalog())
    net = build_net(recipe, fresh=False)
    load_weights(net, folder.file("model.safetensors"))
    return TorchBackend(net, read_metadata(folder.file("model.onnx")), device=device)
