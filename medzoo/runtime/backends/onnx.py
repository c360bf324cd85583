"""The ONNX Runtime backend, on CPU, CUDA or TensorRT."""

from __future__ import annotations

import hashlib
import logging
import math
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from medzoo.errors import UserError
from medzoo.runtime.backends.canvas import Canvas, read_canvas
from medzoo.runtime.backends.devices import (
    CPU,
    MISSING_LIBRARIES,
    Device,
    GpuOptions,
    device_in_use,
    physical_cores,
    providers,
)
from medzoo.runtime.backends.io_binding import BoundSession
from medzoo.runtime.backends.memory_limit import limit_graph_memory, memory_fault, require_room
from medzoo.runtime.backends.onnx_check import NotOnnxError, check_onnx
from medzoo.runtime.metadata import Metadata
from medzoo.runtime.protocol.tensors import DTYPES, WARM_UP_SIZE, tensor_spec
from medzoo.runtime.time_limit import TimeLimitError, budget, enforce
from medzoo.types import Array

log = logging.getLogger("medzoo.runtime")
# For a program that imported onnxruntime before medzoo (see medzoo/__init__.py).
if os.environ.get("ORT_DISABLE_TELEMETRY") == "1":
    ort.disable_telemetry_events()
_SPIN = 1000  # microseconds


class OnnxBackend:
    """One ONNX file in one ONNX Runtime session.

    `source`: a path, or a model's bytes with `where` to name them in errors. `threads`: 0 is one a
    core. Asked for "cuda" or "tensorrt", it runs there or raises UserError; "auto" takes a GPU if there
    is one. `device` then says what was got.
    """

    name = "onnx"

    def __init__(
        self,
        source: Path | bytes,
        *,
        device: Device = "auto",
        threads: int = 0,
        where: str | None = None,
        gpu: GpuOptions | None = None,
    ) -> None:
        self.where = where or str(source if isinstance(source, Path) else "ONNX model")
        self._source = source
        try:
            check_onnx(source, where=self.where)
        except NotOnnxError as error:
            raise self._not_loaded(error) from error
        chosen = gpu or GpuOptions()
        chosen_providers = providers(device, gpu)
        self.session = self._session(chosen_providers, threads=threads)
        self.device = device_in_use(device, self.session.get_providers(), number=chosen.device_id, where=self.where)
        if self.device == "cpu" and chosen_providers != [CPU]:
            log.warning(
                "%s: running on the CPU, because ONNX Runtime could not start on the GPU; %s",
                self.where,
                MISSING_LIBRARIES,
            )
            self.session = self._session([CPU], threads=threads)  # with what the CPU's own memory needs
        # On a GPU inputs and outputs keep their place there; TensorRT's too is CUDA memory.
        self._bound: BoundSession | None = None
        if self.device != "cpu":
            self._bound = BoundSession(
                self.session, device="cuda", device_id=chosen.device_id, cuda_graphs=chosen.cuda_graphs
            )
        self._shapes: dict[str, tuple[int, ...]] | None = None
        self.metadata = Metadata.read(self.session.get_modelmeta().custom_metadata_map, where=self.where)
        self._check_metadata()

    def _check_metadata(self) -> None:
        """Raise UserError if the graph's inputs, outputs or labels differ from its metadata."""
        for kind, declared, values in (
            ("input", self.metadata.inputs, self.session.get_inputs()),
            ("output", self.metadata.outputs, self.session.get_outputs()),
        ):
            specs = {value.name: tensor_spec(value) for value in values}
            for spec in specs.values():
                # A fixed axis is known before anything is allocated, on any device; -1 counts as one.
                size = np.dtype(DTYPES[spec.datatype]).itemsize * math.prod(max(1, n) for n in spec.shape)
                require_room(size, f"the {kind} {spec.name!r} of shape {list(spec.shape)}", where=self.where)
            missing = [name for name in declared if name not in specs]
            if missing or (kind == "input" and len(specs) > len(declared)):
                raise UserError(
                    f"the graph has the {kind}s {', '.join(specs)}, but its metadata list {', '.join(declared)}",
                    where=self.where,
                    hint="export the model again",
                )
            # Of (B, K) or (B, K, ...) probabilities the second axis is the labels.
            shape = specs["probabilities"].shape if "probabilities" in specs else ()
            labels = len(self.metadata.labels)
            if len(shape) > 1 and shape[1] not in (-1, labels):
                raise UserError(
                    f"the graph outputs {shape[1]} probabilities, but its metadata list {labels} labels",
                    where=self.where,
                    hint="export the model again",
                )

    def digest(self) -> str:
        """Return the SHA-256 of the ONNX file in hexadecimal."""
        if isinstance(self._source, bytes):
            return hashlib.sha256(self._source).hexdigest()
        with self._source.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _session(self, providers: list[Any], *, threads: int) -> ort.InferenceSession:
        options = ort.SessionOptions()
        # Left to count them itself, ONNX Runtime ties each thread to a core: those of two sessions to the same ones.
        options.intra_op_num_threads = threads or physical_cores()
        # What goes wrong is raised; its own lines would repeat it on stderr, with names from the file as they are.
        options.log_severity_level = 4
        # Threads that slept between two operators of a light graph took as long to wake as the operators to run; as
        # ONNX Runtime comes, they would spin on after it, and take the cores from those that read, decode and write.
        options.add_session_config_entry("session.intra_op.spin_duration_us", str(_SPIN))
        # Without an arena the system hands out every large tensor anew, zeroed page by page: up to half of a run.
        options.enable_cpu_mem_arena = providers == [CPU]
        if providers == [CPU]:
            limit_graph_memory(options)
        # It would keep a plan, and a block as large as all tensors of it, for each shape that ever came.
        options.enable_mem_pattern = False
        source = self._source
        try:
            return ort.InferenceSession(
                str(source) if isinstance(source, Path) else source, options, providers=providers
            )
        except Exception as error:  # ONNX Runtime raises a family of classes with no common public base
            raise memory_fault(error, where=self.where) or self._not_loaded(error) from error

    def _not_loaded(self, error: Exception) -> UserError:
        way = "MODEL is a zoo name, a model folder or an .onnx file; it comes before the images"
        return UserError(
            f"cannot load the ONNX model: {_first_line(error)}",
            where=self.where,
            hint=None if self.where.endswith(".onnx") else way,
        )

    @cached_property
    def canvas(self) -> Canvas | None:
        """Height and width into which the graph fits pictures, if any."""
        return read_canvas(self._source)

    def with_threads(self, threads: int) -> OnnxBackend:
        """Open the same graph in another CPU session with `threads` threads. Raises UserError."""
        return OnnxBackend(self._source, device="cpu", threads=threads, where=self.where)

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """See Backend.run. A `time_limit` around the call stops the run with TimeLimitError."""
        names = list(outputs or [output.name for output in self.session.get_outputs()])
        allowed = budget()
        try:
            if self._bound is not None:
                return self._bound.run(inputs, names)
            arrays = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
            options = self._shrink_options(arrays)
            if allowed is None:
                values = self.session.run(names, arrays, options)
            else:
                options = options or ort.RunOptions()
                with enforce(allowed, options):
                    values = self.session.run(names, arrays, options)
        except TimeLimitError as error:
            fault = error.faults[0]
            raise TimeLimitError(fault.message, where=self.where, hint=fault.hint) from error
        except Exception as error:
            if refused := memory_fault(error, where=self.where):
                raise refused from error
            shapes = ", ".join(f"{k} {v.dtype}{list(v.shape)}" for k, v in inputs.items())
            raise UserError(f"the graph failed on {shapes}: {_first_line(error)}", where=self.where) from error
        return dict(zip(names, values, strict=True))

    def warm_up(self) -> None:
        """Run once on zeros, so that memory, kernel selection and TensorRT engines are ready before the first request.

        Raises UserError.
        """
        specs = [tensor_spec(value) for value in self.session.get_inputs()]
        shapes = {spec.name: (1, *(WARM_UP_SIZE if n == -1 else n for n in spec.shape[1:])) for spec in specs}
        self.run({spec.name: np.zeros(shapes[spec.name], DTYPES[spec.datatype]) for spec in specs})

    def _shrink_options(self, arrays: Mapping[str, Array]) -> ort.RunOptions | None:
        """Return options that shrink the memory arena after the run, if the input shapes changed; None otherwise.

        While shapes repeat, the arena keeps what one run needs. Slices and tiles of different sizes would fragment it.
        """
        shapes = {name: array.shape for name, array in arrays.items()}
        repeated, self._shapes = shapes == self._shapes, shapes
        if repeated or self._bound is not None:
            return None
        options = ort.RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        return options


def read_metadata(path: Path) -> Metadata:
    """Read the metadata of an ONNX file."""
    return OnnxBackend(path, device="cpu").metadata


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300]
