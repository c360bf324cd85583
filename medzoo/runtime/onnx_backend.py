"""The default backend: ONNX Runtime on CPU or CUDA."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort

from medzoo.errors import UserError
from medzoo.runtime.external_data import refuse_external_data
from medzoo.runtime.metadata import Metadata
from medzoo.types import Array

Device = Literal["auto", "cpu", "cuda"]


class OnnxBackend:
    """One ONNX file in one ONNX Runtime session.

    `source`: a path, or a model's bytes with `where` to name them in errors. `threads`: 0 leaves the number
    to ONNX Runtime. Asked for "cuda", it runs there or raises UserError; "auto" takes a GPU if there is one.
    """

    name = "onnx"

    def __init__(
        self, source: Path | bytes, *, device: Device = "auto", threads: int = 0, where: str | None = None
    ) -> None:
        self.where = where or str(source if isinstance(source, Path) else "ONNX model")
        if isinstance(source, Path):
            refuse_external_data(source)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Threads that spin between two runs take the cores from those that read, decode and write meanwhile.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Slices and tiles differ in size from call to call: the arena would keep the largest of each shape.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        providers = _providers(device)
        try:
            self.session = ort.InferenceSession(
                str(source) if isinstance(source, Path) else source, options, providers=providers
            )
        except Exception as error:  # ONNX Runtime raises a family of classes with no common public base
            raise UserError(
                f"is not an ONNX model that can be loaded: {_first_line(error)}", where=self.where
            ) from error
        got = self.session.get_providers()[0]
        if device == "cuda" and got == "CPUExecutionProvider":
            raise UserError("asked for cuda, but ONNX Runtime could only start on the CPU", where=self.where)
        self.device = "cpu" if got == "CPUExecutionProvider" else "cuda:0"
        self.metadata = Metadata.read(self.session.get_modelmeta().custom_metadata_map, where=self.where)

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """See Backend.run."""
        names = list(outputs or [output.name for output in self.session.get_outputs()])
        try:
            values = self.session.run(names, {k: np.ascontiguousarray(v) for k, v in inputs.items()})
        except Exception as error:
            shapes = ", ".join(f"{k} {v.dtype}{list(v.shape)}" for k, v in inputs.items())
            raise UserError(f"the graph cannot take {shapes}: {_first_line(error)}", where=self.where) from error
        return dict(zip(names, values, strict=True))


def read_metadata(path: Path) -> Metadata:
    """The metadata of an ONNX file alone."""
    return OnnxBackend(path, device="cpu").metadata


def _providers(device: Device) -> list[Any]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    usable = cuda_usable()
    if device == "cuda" and not usable:
        raise UserError(
            "asked for cuda, but there is no usable CUDA device with this ONNX Runtime",
            hint="use --device cpu, or install onnxruntime-gpu on a machine with an NVIDIA driver",
        )
    return ["CUDAExecutionProvider", "CPUExecutionProvider"] if usable else ["CPUExecutionProvider"]


def cuda_usable() -> bool:
    """Whether this ONNX Runtime can run on a CUDA device of this machine."""
    return "CUDAExecutionProvider" in ort.get_available_providers() and cuda_device_present()


def cuda_device_present() -> bool:
    """Whether the NVIDIA driver counts at least one device (the GPU build of ONNX Runtime installs without)."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300]
