"""How ONNX Runtime is to use a GPU: which one, how much of its memory, and what is kept between runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ENGINES = "MEDZOO_ENGINES"


@dataclass(frozen=True)
class GpuOptions:
    """`number`: the device's. `memory`: bytes that the arena may take, None for no limit. `graphs`: record the
    kernels of a run and play them again, for inputs that all have one shape. `engines`: where TensorRT keeps what
    it built, so that a second start takes seconds; by default $MEDZOO_ENGINES, else medzoo/engines in the user's
    cache. `half`: let TensorRT compute in half precision."""

    number: int = 0
    memory: int | None = None
    graphs: bool = False
    engines: Path | None = None
    half: bool = False

    def words(self) -> str:
        """What differs from the usual, for an error."""
        said = [f"GPU {self.number}"] if self.number else []
        said += [f"a limit of {self.memory >> 20} MB of GPU memory"] if self.memory is not None else []
        said += ["CUDA graphs"] if self.graphs else []
        said += [f"TensorRT engines in {self.engines}"] if self.engines is not None else []
        return ", ".join(said) or "GPU 0"

    def providers(self, *, tensorrt: bool) -> list[Any]:
        """ONNX Runtime's providers, the one to be tried first in front; what TensorRT cannot take goes to CUDA, and
        the host steps inside a graph (shapes, lists of boxes) to the CPU."""
        cuda: dict[str, Any] = {
            "device_id": self.number,
            # Grows by what is asked for: doubling would take half of a shared GPU for one large input.
            "arena_extend_strategy": "kSameAsRequested",
            # Trying every algorithm is worth it only where shapes repeat.
            "cudnn_conv_algo_search": "EXHAUSTIVE" if self.graphs else "HEURISTIC",
            "enable_cuda_graph": self.graphs,
            # float32 means float32: products of 10 bits (TF32) would be a thousandth off what the export agreed to.
            "use_tf32": False,
        }
        if self.memory is not None:
            cuda["gpu_mem_limit"] = self.memory
        chosen: list[Any] = [("CUDAExecutionProvider", cuda), "CPUExecutionProvider"]
        if not tensorrt:
            return chosen
        folder = self.engines or default_engines()
        folder.mkdir(parents=True, exist_ok=True)
        engine = {
            "device_id": self.number,
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": str(folder),
            "trt_timing_cache_enable": True,
            "trt_timing_cache_path": str(folder),
            "trt_fp16_enable": self.half,
            "trt_cuda_graph_enable": self.graphs,
        }
        if self.memory is not None:
            engine["trt_max_workspace_size"] = self.memory
        return [("TensorrtExecutionProvider", engine), *chosen]


def default_engines() -> Path:
    """Where TensorRT's engines are kept."""
    named = os.environ.get(_ENGINES)
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medzoo" / "engines"
