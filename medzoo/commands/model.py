"""`medzoo.load`: a model by name, folder or ONNX file, with the backend that was asked for."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from medzoo.artifact import ModelFolder
from medzoo.commands.locate import claimed, find_model
from medzoo.commands.reopen import reopen
from medzoo.data.catalog import has_torch
from medzoo.errors import UserError, missing_extra
from medzoo.runtime.backends.base import Backend
from medzoo.runtime.backends.devices import Device, GpuOptions, cuda_usable
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.backends.remote import TIMEOUT, RemoteBackend, is_url, remote_pipeline
from medzoo.runtime.metadata import Precision, check_threshold, graph_file
from medzoo.runtime.predictor import Predictor
from medzoo.runtime.time_limit import check_time_limit

if TYPE_CHECKING:
    from medzoo.nn.torch_backend import TorchBackend

log = logging.getLogger("medzoo.commands")
BackendName = Literal["auto", "onnx", "torch"]
PrecisionName = Literal["auto", "fp32", "fp16", "int8", "bf16"]


def load(
    model: str | Path,
    *,
    backend: BackendName = "auto",
    device: Device = "auto",
    precision: PrecisionName = "auto",
    threshold: float | None = None,
    gpu: GpuOptions | None = None,
    time_limit: float | None = None,
) -> Predictor:
    """A Predictor for MODEL: a zoo name, a model folder, an .onnx file, or a server's URL.

    `gpu`: which one and how it is used; asked for, it is an error if there is none. `time_limit`: seconds that the
    model's graphs may compute for one input, as a run that never ends would take the program with it; of a server's
    URL, seconds that each of its answers may take. `threshold`: a number from 0 to 1 in place of the stored one. A
    picture's colours are red, green, blue, wherever it comes from (`predict(array, bgr=True)` for OpenCV's order).
    The Predictor can be pickled: it is opened again from the same path, whose digest must be the same, or URL.

    Raises UserError if there is no such model, a file of it was changed, or the backend cannot be had.

    >>> model = medzoo.load("breast-lesion-rcnn")
    >>> model.predict("phantom.png").to_dict()["detections"][0]["label"]
    'lesion'
    """
    for name, given, known in (
        ("backend", backend, get_args(BackendName)),
        ("device", device, get_args(Device)),
        ("precision", precision, get_args(PrecisionName)),
    ):
        if given not in known:
            raise UserError(f"{given!r} is not one of {', '.join(known)}", where=name)
    time_limit = check_time_limit(time_limit)
    threshold = None if threshold is None else check_threshold(threshold)
    if is_url(model):
        remote = _remote(str(model), threshold=threshold, timeout=time_limit)
        remote.reopen = reopen(model, threshold=threshold, time_limit=time_limit)
        return remote
    path = find_model(model)
    options: dict[str, Any] = {"backend": backend, "device": device, "precision": precision, "gpu": gpu}
    # Found by its name, it is the released one (see find_model).
    if Path(model).is_dir() and (other := claimed(path)) is not None:
        log.warning("%s: is called %s, but it is not the released model of that name", path, other)
    if path.is_dir() and "members" in (folder := ModelFolder.open(path)).manifest:
        from medzoo.commands.compose import cascade, pipeline_members

        members = pipeline_members(folder)
        predictor: Predictor = cascade(folder.name, members, threshold=threshold, **options)
    else:
        predictor = Predictor(open_backend(path, **options), threshold=threshold)
    if time_limit is not None and predictor.backend.name == "torch":
        raise UserError("a run of torch cannot be ended", where="time_limit", hint="--backend onnx")
    predictor.time_limit = time_limit
    predictor.reopen = reopen(path, **options, threshold=threshold, time_limit=time_limit)
    return predictor


def _remote(url: str, *, threshold: float | None, timeout: float | None) -> Predictor:
    """A model behind a server: a graph, or a pipeline whose members the same server has."""
    wait = TIMEOUT if timeout is None else timeout
    if not (members := remote_pipeline(url, timeout=wait)):
        return Predictor(RemoteBackend(url, timeout=wait), threshold=threshold)
    from medzoo.runtime.cascade import Cascade

    name = url.rstrip("/").rpartition("/")[2]
    predictors = {role: Predictor(RemoteBackend(one, timeout=wait)) for role, one in members.items()}
    return Cascade.of(name, predictors, threshold=threshold)


def open_backend(
    path: Path,
    *,
    backend: BackendName = "auto",
    device: Device = "auto",
    precision: PrecisionName = "auto",
    gpu: GpuOptions | None = None,
) -> Backend:
    """The backend of a model folder (its digests are checked first) or of an .onnx file."""
    if path.is_file():
        if backend == "torch":
            raise UserError("an ONNX file does not run on torch", where=str(path), hint="give the model folder")
        opened = OnnxBackend(path, device=device, gpu=gpu)
        if precision not in ("auto", opened.metadata.precision):
            raise UserError(f"is a file of {opened.metadata.precision}, asked for was {precision}", where=str(path))
        return opened
    folder = ModelFolder.open(path)
    if precision == "bf16":
        return _bf16_backend(folder, backend=backend, device=device, gpu=gpu)
    if backend == "torch":
        if precision not in ("auto", "fp32"):
            raise UserError(f"torch answers in fp32, asked for was {precision}", where=str(path), hint="--backend onnx")
        if gpu is not None:
            raise UserError(f"{gpu.words()} are for ONNX Runtime", where=str(path), hint="--backend onnx")
        return torch_backend(folder, device=device)
    return OnnxBackend(folder.file(graph_file(_precision(folder, precision, device))), device=device, gpu=gpu)


def _bf16_backend(folder: ModelFolder, *, backend: BackendName, device: Device, gpu: GpuOptions | None) -> Backend:
    """torch in bfloat16, of a model for which it was measured what that loses."""
    if backend == "onnx" or gpu is not None:
        raise UserError(
            "bf16 is computed by torch, not by ONNX Runtime", where=str(folder.path), hint="--backend torch"
        )
    if "bf16" not in folder.manifest.get("precisions", {}):
        raise UserError(
            "what bf16 loses was not measured for this model",
            where=str(folder.path),
            hint=f"medzoo export {folder.path} --precision bf16 -o {folder.path}",
        )
    return torch_backend(folder, device=device, bf16=True)


def _precision(folder: ModelFolder, asked: PrecisionName, device: Device) -> Precision:
    """What was asked for; of itself only a GPU takes fewer bits (fp16), and only if the folder has them."""
    if asked != "auto":
        return asked
    on_gpu = device != "cpu" and cuda_usable()
    return "fp16" if on_gpu and graph_file("fp16") in folder.manifest["files"] else "fp32"


def torch_backend(folder: ModelFolder, *, device: Device = "auto", bf16: bool = False) -> TorchBackend:
    """The net of a model folder, rebuilt from its recipe and safetensors."""
    if not has_torch():
        raise missing_extra("torch", "train")
    from medzoo.data.catalog import Catalog
    from medzoo.nn.torch_backend import TorchBackend
    from medzoo.nn.weights import build_net, load_weights
    from medzoo.recipe import load_recipe
    from medzoo.runtime.backends.onnx import read_metadata

    recipe = load_recipe(folder.file("recipe.yaml"), catalog=Catalog())
    net = build_net(recipe, fresh=False)
    load_weights(net, folder.file("model.safetensors"))
    return TorchBackend(net, read_metadata(folder.file("model.onnx")), device=device, bf16=bf16)
