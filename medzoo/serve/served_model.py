"""Models and pipelines of a server, with their metadata and configuration in the protocol's terms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from medzoo.runtime.backends.batching import Batcher
from medzoo.runtime.backends.canvas import KEY as CANVAS
from medzoo.runtime.backends.canvas import to_property
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.metadata import KEY, Metadata
from medzoo.runtime.pipeline import KEY as PIPELINE_KEY
from medzoo.runtime.pipeline import PLATFORM as PIPELINE
from medzoo.runtime.pipeline import Pipeline
from medzoo.runtime.protocol.tensors import InferenceRequest, TensorSpec, datatype, tensor_spec
from medzoo.runtime.value_range import ValueRange, check_tensors, tensor_range
from medzoo.serve.inference_error import ErrorCode, InferenceError
from medzoo.serve.settings import Settings
from medzoo.types import Array

PLATFORM = "onnxruntime_onnx"
VERSION = "1"


@dataclass(frozen=True)
class ServedModel:
    """A model with its queue, metadata and tensors."""

    name: str
    batcher: Batcher
    metadata: Metadata
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @classmethod
    def from_backend(cls, backend: OnnxBackend, settings: Settings) -> ServedModel:
        """Put a backend behind its own queue."""
        batcher = Batcher(
            backend,
            max_batch_size=settings.max_batch_size,
            max_delay=settings.max_delay,
            max_queue=settings.max_queue,
            max_queue_bytes=settings.max_inflight_bytes,
        )
        session = backend.session
        return cls(
            backend.metadata.name,
            batcher,
            backend.metadata,
            tuple(tensor_spec(value) for value in session.get_inputs()),
            tuple(tensor_spec(value) for value in session.get_outputs()),
        )

    @cached_property
    def _range(self) -> ValueRange | None:
        return tensor_range(self.metadata)

    def describe(self) -> dict[str, Any]:
        """Return the protocol's model metadata."""
        return {
            "name": self.name,
            "versions": [VERSION],
            "platform": PLATFORM,
            "inputs": [spec.to_dict() for spec in self.inputs],
            "outputs": [spec.to_dict() for spec in self.outputs],
        }

    def config(self) -> dict[str, Any]:
        """Return the part of Triton's model configuration that carries medzoo's metadata to a client."""
        parameters = {KEY: self.metadata.model_dump_json()}
        if (canvas := getattr(self.batcher.backend, "canvas", None)) is not None:
            parameters[CANVAS] = to_property(canvas)
        return {
            "name": self.name,
            "platform": PLATFORM,
            "max_batch_size": 0,
            "parameters": {key: {"string_value": value} for key, value in parameters.items()},
        }

    def check(self, inference: InferenceRequest) -> None:
        """Check names, datatypes and shapes of a request's tensors, and the value range of pictures.

        Raises InferenceError that names the tensor, or UserError for values outside the range of training.
        """
        known = {spec.name: spec for spec in self.inputs}
        for name in inference.inputs:
            if name not in known:
                raise InferenceError(
                    ErrorCode.INVALID, f"{self.name} has no input {name[:80]!r}; its inputs are {', '.join(known)}"
                )
        rows = set()
        for name, spec in known.items():
            if name not in inference.inputs:
                raise InferenceError(ErrorCode.INVALID, f"the input {name!r} of {self.name} is missing")
            _check_array(spec, inference.inputs[name])
            rows.add(len(inference.inputs[name]))
        check_tensors(self._range, self.metadata, inference.inputs)
        if len(rows) > 1:
            raise InferenceError(ErrorCode.INVALID, f"the inputs have different batch sizes: {sorted(rows)}")
        outputs = [spec.name for spec in self.outputs]
        for name in inference.outputs or ():
            if name not in outputs:
                raise InferenceError(
                    ErrorCode.INVALID, f"{self.name} has no output {name[:80]!r}; its outputs are {', '.join(outputs)}"
                )


@dataclass(frozen=True)
class ServedPipeline:
    """A pipeline of models for image files; each member is also served by itself and takes tensors."""

    pipeline: Pipeline

    @property
    def name(self) -> str:
        """Name of the pipeline."""
        return self.pipeline.name

    def describe(self) -> dict[str, Any]:
        """Return the protocol's model metadata, without tensors."""
        return {"name": self.name, "versions": [VERSION], "platform": PIPELINE, "inputs": [], "outputs": []}

    def config(self) -> dict[str, Any]:
        """Return the model configuration with the members' roles, for a client that runs the host steps itself."""
        return {
            "name": self.name,
            "platform": PIPELINE,
            "max_batch_size": 0,
            "parameters": {PIPELINE_KEY: {"string_value": self.pipeline.model_dump_json()}},
        }


def _check_array(spec: TensorSpec, array: Array) -> None:
    kind = datatype(array.dtype)
    if kind != spec.datatype:
        raise InferenceError(ErrorCode.INVALID, f"the input {spec.name!r} must be {spec.datatype}, got {kind}")
    fits = len(array.shape) == len(spec.shape) and all(
        n > 0 and (want in (-1, n)) for n, want in zip(array.shape, spec.shape, strict=True)
    )
    if not fits:
        raise InferenceError(
            ErrorCode.INVALID,
            f"the input {spec.name!r} must have shape {list(spec.shape)} (-1: any length), got {list(array.shape)}",
        )
