"""Open the backend of a model folder or an .onnx file: ONNX Runtime, or torch from the recipe and safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medzoo.artifact import ModelFolder
from medzoo.data.catalog import has_torch
from medzoo.errors import UserError, missing_extra
from medzoo.runtime.backends import Backend
from medzoo.runtime.backends.devices import Device, GpuOptions, cuda_usable
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.metadata import Precision, graph_file

if TYPE_CHECKING:
    from medzoo.nn.torch_backend import TorchBackend

BackendName = Literal["auto", "onnx", "torch"]
PrecisionName = Literal["auto", "fp32", "fp16", "int8", "bf16"]


def open_backend(
    path: Path,
    *,
    backend: BackendName = "auto",
    device: Device = "auto",
    precision: PrecisionName = "auto",
    gpu: GpuOptions | None = None,
) -> Backend:
    """Open the backend of a model folder (its digests are checked first) or of an .onnx file.

    Raises UserError for a backend, device or precision that the model does not have here.
    """
    if path.is_file():
        if backend == "torch":
            raise UserError("torch cannot run an ONNX file", where=str(path), hint="give the model folder")
        opened = OnnxBackend(path, device=device, gpu=gpu)
        if precision not in ("auto", opened.metadata.precision):
            raise UserError(f"is in {opened.metadata.precision}, not in {precision} as requested", where=str(path))
        return opened
    folder = ModelFolder.open(path)
    if precision == "bf16":
        return _bf16_backend(folder, backend=backend, device=device, gpu=gpu)
    if backend == "torch":
        if precision not in ("auto", "fp32"):
            raise UserError(
                f"torch runs in fp32 or bf16; {precision} was requested", where=str(path), hint="use --backend onnx"
            )
        if gpu is not None:
            raise UserError(f"{gpu.describe()} apply to ONNX Runtime only", where=str(path), hint="use --backend onnx")
        return torch_backend(folder, device=device)
    return OnnxBackend(folder.file(graph_file(_precision(folder, precision, device))), device=device, gpu=gpu)


def _bf16_backend(folder: ModelFolder, *, backend: BackendName, device: Device, gpu: GpuOptions | None) -> Backend:
    """torch in bfloat16, for a model whose loss in it was measured."""
    if backend == "onnx" or gpu is not None:
        raise UserError("bf16 runs in torch, not in ONNX Runtime", where=str(folder.path), hint="use --backend torch")
    if "bf16" not in folder.manifest.get("precisions", {}):
        raise UserError(
            "the loss of this model in bf16 was never measured",
            where=str(folder.path),
            hint=f"measure it with: medzoo export {folder.path} --precision bf16 -o {folder.path}",
        )
    return torch_backend(folder, device=device, bf16=True)


def _precision(folder: ModelFolder, requested: PrecisionName, device: Device) -> Precision:
    """The requested precision; "auto" is fp16 on a GPU if the folder has that file, else fp32."""
    if requested != "auto":
        return requested
    on_gpu = device != "cpu" and cuda_usable()
    return "fp16" if on_gpu and graph_file("fp16") in folder.manifest["files"] else "fp32"


def torch_backend(folder: ModelFolder, *, device: Device = "auto", bf16: bool = False) -> TorchBackend:
    """Rebuild the net of a model folder from its recipe and safetensors. Raises UserError where torch is missing."""
    if not has_torch():
        raise missing_extra("torch", "train")
    from medzoo.data.catalog import Catalog
    from medzoo.nn.torch_backend import TorchBackend
    from medzoo.nn.weights import build_net, load_weights
    from medzoo.recipe import load_recipe

    recipe = load_recipe(folder.file("recipe.yaml"), catalog=Catalog())
    net = build_net(recipe, fresh=False)
    load_weights(net, folder.file("model.safetensors"))
    graph = OnnxBackend(folder.file("model.onnx"), device="cpu")
    embedder = None if graph.metadata.guard is None else graph
    return TorchBackend(net, graph.metadata, device=device, bf16=bf16, embedder=embedder)
