"""The environment of a training for its manifest: versions and hardware, no names of machine or user."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = (
    "medzoo", "numpy", "scipy", "scikit-image", "scikit-learn", "nibabel", "onnx", "onnxruntime-gpu", "onnxruntime",
    "onnxscript", "torch", "torchvision", "pytorch-lightning", "timm", "monai",
)  # fmt: skip


def installed_version(package: str) -> str | None:
    """The version of an installed package, None if it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def environment() -> dict[str, Any]:
    """Python, package versions, processor and cores; and GPUs, as far as torch is there to see them."""
    packages = {name: found for name in _PACKAGES if (found := installed_version(name))}
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": processor(),
        **_instructions(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        # More threads add in another order, so they change the last digits.
        "threads": sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None,
        **_gpus(),
        "packages": packages,
    }


def _instructions() -> dict[str, str]:
    """The widest arithmetic that an x86 processor has: sums of other widths differ in their last digits, and one name
    stands for processors with and without bf16."""
    flags = _cpuinfo("flags").split()
    found = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    return {"instructions": " ".join(found)} if found else {}


def _gpus() -> dict[str, Any]:
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return {"gpus": names, **({"cuda": torch.version.cuda} if names else {})}


def processor() -> str:
    """The processor's name as the system gives it."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(field: str) -> str:
    """A field of /proc/cpuinfo for the first processor; "" where there is none."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")
