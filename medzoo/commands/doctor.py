"""`medzoo doctor`: what this machine can do, with a known answer of each backend."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.artifact.environment import installed_version
from medzoo.artifact.locate import zoo_models
from medzoo.data.catalog import has_torch
from medzoo.errors import UserError
from medzoo.io.cache import cache_folder

_INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "asimd", "sve")
_PACKAGES = (
    "numpy",
    "onnxruntime-gpu",
    "onnxruntime",
    "torch",
    "pytorch-lightning",
    "timm",
    "monai",
    "highdicom",
    "ray",
    "optuna",
)
_PROBED = "breast-lesion-rcnn"  # the model whose stored answers are repeated, if it is here
_LOW_DISK, _LOW_MEMORY = 2 << 30, 2 << 30


@dataclass(frozen=True)
class Diagnosis:
    """Facts of the machine, and checks that passed or did not, each with a sentence."""

    facts: dict[str, Any]
    checks: tuple[tuple[str, bool, str], ...]

    @property
    def healthy(self) -> bool:
        """True if every check passed."""
        return all(passed for _, passed, _ in self.checks)

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        checks = [{"check": name, "ok": passed, "text": text} for name, passed, text in self.checks]
        return {"healthy": self.healthy, "facts": self.facts, "checks": checks}

    def lines(self) -> list[str]:
        """For people."""
        facts = [f"{name}: {_words(value)}" for name, value in self.facts.items()]
        return [*facts, "", *(f"{'ok   ' if passed else 'FAILS'} {name}: {text}" for name, passed, text in self.checks)]


def doctor() -> Diagnosis:
    """Look at the machine and try each backend on an input whose answer is known."""
    facts: dict[str, Any] = {
        "medzoo": installed_version("medzoo") or "?",
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": f"{_usable_cores()} usable of {os.cpu_count()}",
        "instructions": _instructions(),
        "memory": f"{_gigabytes(_memory('MemAvailable'))} free of {_gigabytes(_memory('MemTotal'))}",
        "gpu": _gpus(),
        "providers": _providers(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "caches": _caches(),
    }
    checks = [_disk(), _free_memory(), _two_runtimes(), *_backends()]
    return Diagnosis(facts, tuple(checks))


def _backends() -> list[tuple[str, bool, str]]:
    """A known answer of each backend: a convolution whose result is a whole number, and a model's stored answers."""
    found = [_answered("onnxruntime", _onnx_answer)]
    if has_torch():
        found.append(_answered("torch", _torch_answer))
    if _PROBED in zoo_models():
        found.append(_answered(f"model {_PROBED}", _model_answer))
    return found


def _answered(name: str, probe: Callable[[], str]) -> tuple[str, bool, str]:
    start = time.perf_counter()
    try:
        said = probe()
    except Exception as error:  # a broken installation fails in many ways; the report goes on
        text = str(error.faults[0]) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        return name, False, " ".join(text.split())[:200]
    return name, True, f"{said} in {time.perf_counter() - start:.2f} s"


def _onnx_answer() -> str:
    """A graph of one matrix product, written as bytes of the ONNX format, so that no other package is needed."""
    import onnxruntime

    session = onnxruntime.InferenceSession(_product_graph(), providers=["CPUExecutionProvider"])
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    (answer,) = session.run(None, {"a": a, "b": a.T.copy()})
    if not np.array_equal(answer, [[5, 14], [14, 50]]):
        raise UserError(f"2 x 2 product is {answer.tolist()}, not [[5, 14], [14, 50]]", "onnxruntime")
    return f"onnxruntime {onnxruntime.__version__} gives the known product"


def _torch_answer() -> str:
    import torch

    a = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    if (a @ a.T).tolist() != [[5, 14], [14, 50]]:
        raise UserError("the product of two matrices is wrong", "torch")
    device = "cpu"
    if torch.cuda.is_available():
        if (a.cuda() @ a.cuda().T).cpu().tolist() != [[5, 14], [14, 50]]:
            raise UserError("the product of two matrices is wrong on the GPU", "torch")
        device = torch.cuda.get_device_name(0)
    return f"torch {torch.__version__} gives the known product on {device}"


def _model_answer() -> str:
    from medzoo.commands.verify import verify

    checks = verify(_PROBED)
    return f"{', '.join(check.name for check in checks)} hold"


def _product_graph() -> bytes:
    """ModelProto of C = MatMul(a, b), of float32 matrices of any size (onnx.proto3: field numbers and wire types)."""

    def field(number: int, value: bytes | int) -> bytes:
        if isinstance(value, int):
            return bytes([number << 3]) + _varint(value)
        return bytes([number << 3 | 2]) + _varint(len(value)) + value

    def tensor(name: str) -> bytes:
        sides = b"".join(field(1, field(2, f"{name}{k}".encode())) for k in range(2))
        return field(1, name.encode()) + field(2, field(1, field(1, 1) + field(2, sides)))

    node = field(1, b"a") + field(1, b"b") + field(2, b"c") + field(4, b"MatMul")
    graph = (
        field(1, node) + field(2, b"product") + field(11, tensor("a")) + field(11, tensor("b")) + field(12, tensor("c"))
    )
    return field(1, 8) + field(7, graph) + field(8, field(2, 13))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _disk() -> tuple[str, bool, str]:
    free = shutil.disk_usage(Path.cwd()).free
    return "disk", free > _LOW_DISK, f"{_gigabytes(free)} free in {Path.cwd()}"


def _free_memory() -> tuple[str, bool, str]:
    free = _memory("MemAvailable")
    return "memory", free == 0 or free > _LOW_MEMORY, f"{_gigabytes(free)} free" if free else "not known on this system"


def _two_runtimes() -> tuple[str, bool, str]:
    both = [name for name in ("onnxruntime", "onnxruntime-gpu") if _version(name)]
    if len(both) == 2:
        return (
            "one onnxruntime",
            False,
            "onnxruntime and onnxruntime-gpu overwrite each other: uninstall both, install one",
        )
    return "one onnxruntime", bool(both), both[0] if both else "none is installed: pip install medzoo"


def _gpus() -> str:
    if not has_torch():
        return "not looked for without torch"
    import torch

    if not torch.cuda.is_available():
        return "none"
    return ", ".join(torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count()))


def _providers() -> list[str]:
    import onnxruntime

    return list(onnxruntime.get_available_providers())


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _instructions() -> list[str]:
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return []
    return [name for name in _INSTRUCTIONS if name in flags]


def _memory(key: str) -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), 0)


def _caches() -> str:
    folder = cache_folder()
    if folder is None:
        return "none: $MEDZOO_CACHE turns it off"
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
    return f"{_gigabytes(size)} in {folder}"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _gigabytes(size: float) -> str:
    return f"{size / 2**30:.1f} GB"


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {text}" for name, text in value.items())
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
