"""ONNX Runtime's devices: execution providers, GPU options, and the hardware of this machine."""

from __future__ import annotations

import ctypes
import io
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import onnxruntime as ort

from medzoo.errors import UserError

log = logging.getLogger("medzoo.runtime")
Device = Literal["auto", "cpu", "cuda", "tensorrt"]
ConvolutionSearch = Literal["default", "heuristic", "exhaustive"]
CPU = "CPUExecutionProvider"
MISSING_LIBRARIES = (
    "CUDA or cuDNN libraries are missing or of the wrong version; install them with: pip install 'medzoo[gpu]'"
)
_NAMES: Mapping[str, str] = {"CUDAExecutionProvider": "cuda", "TensorrtExecutionProvider": "tensorrt"}
_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
_ENGINE_CACHE = "MEDZOO_ENGINES"


@dataclass(frozen=True)
class GpuOptions:
    """Options of the CUDA and TensorRT execution providers.

    `device_id`: number of the GPU. `memory_limit`: bytes of the memory arena, None for no limit. `cuda_graphs`: record
    the kernels of a run and replay them, for inputs of one shape. `engine_cache`: folder of TensorRT's engines, which
    makes a second start fast; by default $MEDZOO_ENGINES, else medzoo/engines in the user's cache. `fp16`: let TensorRT
    compute in half precision. `convolutions`: how cuDNN chooses the algorithm of each convolution and shape: from 1.20
    on, ONNX Runtime maps "exhaustive", "heuristic" and "default" to the modes B, A and FALLBACK of cuDNN's frontend.
    None is "heuristic", and "exhaustive" with `cuda_graphs`. `nhwc`: convolutions with channels last.
    """

    device_id: int = 0
    memory_limit: int | None = None
    cuda_graphs: bool = False
    engine_cache: Path | None = None
    fp16: bool = False
    convolutions: ConvolutionSearch | None = None
    nhwc: bool = False

    def describe(self) -> str:
        """Describe the options that differ from the defaults, for an error message."""
        parts = [f"GPU {self.device_id}"] if self.device_id else []
        parts += [f"a GPU memory limit of {self.memory_limit >> 20} MB"] if self.memory_limit is not None else []
        parts += ["CUDA graphs"] if self.cuda_graphs else []
        parts += [f"TensorRT engines in {self.engine_cache}"] if self.engine_cache is not None else []
        return ", ".join(parts) or "GPU 0"

    def providers(self, *, tensorrt: bool) -> list[Any]:
        """List ONNX Runtime's providers by preference.

        Operators that TensorRT does not support run on CUDA; shape computations and lists of boxes on the CPU.
        """
        # Trying every algorithm is worth it only where shapes repeat.
        search = self.convolutions or ("exhaustive" if self.cuda_graphs else "heuristic")
        cuda: dict[str, Any] = {
            "device_id": self.device_id,
            # Grows by what is asked for: doubling would take half of a shared GPU for one large input.
            "arena_extend_strategy": "kSameAsRequested",
            "cudnn_conv_algo_search": search.upper(),
            "prefer_nhwc": self.nhwc,
            "enable_cuda_graph": self.cuda_graphs,
            # float32 means float32: products of 10 bits (TF32) would be a thousandth off what the export agreed to.
            "use_tf32": False,
        }
        if self.memory_limit is not None:
            cuda["gpu_mem_limit"] = self.memory_limit
        chosen: list[Any] = [("CUDAExecutionProvider", cuda), "CPUExecutionProvider"]
        if not tensorrt:
            return chosen
        folder = self.engine_cache or default_engine_cache()
        folder.mkdir(parents=True, exist_ok=True)
        engine = {
            "device_id": self.device_id,
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": str(folder),
            "trt_timing_cache_enable": True,
            "trt_timing_cache_path": str(folder),
            "trt_fp16_enable": self.fp16,
            "trt_cuda_graph_enable": self.cuda_graphs,
        }
        if self.memory_limit is not None:
            engine["trt_max_workspace_size"] = self.memory_limit
        return [("TensorrtExecutionProvider", engine), *chosen]


def default_engine_cache() -> Path:
    """Return the default folder of TensorRT's engines."""
    named = os.environ.get(_ENGINE_CACHE)
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medzoo" / "engines"


def device_in_use(requested: Device, providers: Sequence[str], *, number: int, where: str) -> str:
    """Return the device of a session, "cpu", "cuda:0" or "tensorrt:0", from its providers.

    Raises UserError if it is not the requested one: ONNX Runtime itself falls back silently.
    """
    name = _NAMES.get(providers[0], "cpu")
    if requested in ("cuda", "tensorrt") and name != requested:
        raise UserError(
            f"device {requested} was requested, but ONNX Runtime could only start on {name}",
            where=where,
            hint=f"{MISSING_LIBRARIES}; or use --device cpu",
        )
    return name if name == "cpu" else f"{name}:{number}"


def providers(device: Device, requested: GpuOptions | None) -> list[Any]:
    gpu = requested or GpuOptions()
    if device == "cpu":
        if requested is not None:
            raise UserError(
                f"{requested.describe()}: GPU options cannot be combined with the device cpu",
                hint="leave out --device cpu",
            )
        return [CPU]
    usable = cuda_usable()
    if requested is not None and not usable:
        raise UserError(
            f"{requested.describe()}: no CUDA device is usable with this ONNX Runtime",
            hint=f"drop the GPU option; {_missing()}",
        )
    if device in ("cuda", "tensorrt") and not usable:
        raise UserError(
            f"device {device} was requested, but no CUDA device is usable with this ONNX Runtime",
            hint=f"use --device cpu; {_missing()}",
        )
    if device == "tensorrt" and not tensorrt_usable():
        raise UserError(
            "device tensorrt was requested, but TensorRT is not installed or this ONNX Runtime was built without it",
            hint="use --device cuda",
        )
    if not usable:
        return [CPU]
    _load_libraries()
    return gpu.providers(tensorrt=device == "tensorrt")


def _missing() -> str:
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return "this ONNX Runtime was built without CUDA; install onnxruntime-gpu"
    return "this machine has no NVIDIA driver, or the driver finds no GPU"


def cuda_usable() -> bool:
    """Return True if this ONNX Runtime can run on a CUDA device of this machine."""
    return "CUDAExecutionProvider" in ort.get_available_providers() and cuda_device_present()


@cache
def _load_libraries() -> None:
    """Load CUDA and cuDNN from pip packages, including PyTorch's, which the system's loader does not search."""
    # It prints of every plan of cuDNN's that it tries in vain, as an error; what ends a run is raised.
    ort.set_default_logger_severity(4)
    load = getattr(ort, "preload_dlls", None)  # from 1.21 on
    if load is None:
        return
    printed = io.StringIO()
    with redirect_stdout(printed):  # it prints what it misses, also where the system has it
        load()
    if printed.getvalue():
        log.debug("%s", printed.getvalue())


def tensorrt_usable() -> bool:
    """Return True if this ONNX Runtime supports TensorRT and its library is installed (no wheel contains it)."""
    return "TensorrtExecutionProvider" in ort.get_available_providers() and _loads("libnvinfer.so.10")


def cuda_device_present() -> bool:
    """Return True if the NVIDIA driver finds a device (the GPU build of ONNX Runtime installs without one)."""
    if not _loads("libcuda.so.1"):
        return False
    driver = ctypes.CDLL("libcuda.so.1")
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def physical_cores(topology: str = _TOPOLOGY) -> int:
    """Count the physical cores that this process may use; two hardware threads share one core's arithmetic units.

    `topology`: the file, by a processor's number, that names those of the same core; a processor without it
    counts as a core of its own.
    """
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    return len({_core(topology, number) for number in os.sched_getaffinity(0)})


def _core(topology: str, number: int) -> str:
    try:
        return Path(topology.format(number)).read_text().strip()
    except OSError:
        return str(number)
