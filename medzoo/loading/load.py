"""`medzoo.load`: a Predictor by name, folder, ONNX file or URL, with the backend that was asked for."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from medzoo.artifact import ModelFolder
from medzoo.artifact.folder import sha256
from medzoo.artifact.locate import claimed_name, find_model
from medzoo.artifact.manifest import DIGEST
from medzoo.artifact.pipeline import pipeline_members
from medzoo.errors import UserError
from medzoo.loading.backend import BackendName, PrecisionName, open_backend
from medzoo.runtime.backends.devices import Device, GpuOptions
from medzoo.runtime.backends.remote import TIMEOUT, RemoteBackend, is_url, remote_members
from medzoo.runtime.cascade import Cascade
from medzoo.runtime.metadata import check_threshold
from medzoo.runtime.predictor import Predictor
from medzoo.runtime.time_limit import check_time_limit

log = logging.getLogger("medzoo.load")


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
    """Open a Predictor for MODEL: a zoo name, a model folder, an .onnx file, or a server's URL.

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
    if Path(model).is_dir() and (other := claimed_name(path)) is not None:
        log.warning("%s: is named %s, but it is not the released model of that name", path, other)
    if path.is_dir() and "members" in (folder := ModelFolder.open(path)).manifest:
        members = pipeline_members(folder)
        predictor: Predictor = load_cascade(folder.name, members, threshold=threshold, **options)
    else:
        predictor = Predictor(open_backend(path, **options), threshold=threshold)
    if time_limit is not None and predictor.backend.name == "torch":
        raise UserError("torch cannot be interrupted in a run", where="time_limit", hint="use --backend onnx")
    predictor.time_limit = time_limit
    predictor.reopen = reopen(path, **options, threshold=threshold, time_limit=time_limit)
    return predictor


def _remote(url: str, *, threshold: float | None, timeout: float | None) -> Predictor:
    """A model behind a server: a graph, or a pipeline whose members the same server has."""
    wait = TIMEOUT if timeout is None else timeout
    if not (members := remote_members(url, timeout=wait)):
        return Predictor(RemoteBackend(url, timeout=wait), threshold=threshold)
    name = url.rstrip("/").rpartition("/")[2]
    predictors = {role: Predictor(RemoteBackend(one, timeout=wait)) for role, one in members.items()}
    return Cascade.from_members(name, predictors, threshold=threshold)


def load_cascade(
    name: str, members: Mapping[str, ModelFolder], *, threshold: float | None = None, **options: Any
) -> Cascade:
    """Open the predictor of a pipeline. `options` go to `load`. Raises UserError for members that do not fit."""
    return Cascade.from_members(
        name, {role: load(one.path, **options) for role, one in members.items()}, threshold=threshold
    )


@dataclass(frozen=True)
class Reopen:
    """The arguments of `medzoo.load` and the digest of the model that they gave; what a pickled Predictor holds.

    A model is opened again in the other process, never unpickled. `model`: a server's URL, or the absolute path of a
    model folder or ONNX file. `digest`: see `model_digest`; None for a URL. Neither weights nor a server's token are
    in it.
    """

    model: str
    digest: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self) -> Predictor:
        """Open the Predictor. Raises UserError if the model is missing, or not the one that was pickled."""
        if self.digest is not None:
            path = Path(self.model)
            if not path.exists():
                raise UserError("the model of this pickle is not here", self.model, "copy it to the same path")
            if model_digest(path) != self.digest:
                raise UserError(
                    "the model has changed since this was pickled", self.model, "load it again with medzoo.load"
                )
        return load(self.model, **self.options)


def reopen(model: str | Path, **options: Any) -> Reopen:
    """The `Reopen` of MODEL, a URL or a path that exists, with the `options` of `medzoo.load`."""
    if is_url(model):
        return Reopen(str(model), None, options)
    path = Path(model).resolve()
    return Reopen(str(path), model_digest(path), options)


def model_digest(path: Path) -> str:
    """SHA-256 of an ONNX file, or of a model folder's manifest, which holds the digests of all its files."""
    if path.is_file():
        return sha256(path)
    return hashlib.sha256((path / DIGEST).read_bytes()).hexdigest()
