"""The most memory that a backend takes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from medzoo.loading.backend import open_backend
from medzoo.types import Array


def peak_mb(path: Path, key: tuple[str, str, str], inputs: Mapping[str, Array]) -> float:
    """Most memory, in MB, of a process of its own that opens the backend `key` (name, device, precision) of a model
    folder and answers inputs of such shapes once: the most of this process would be that of all backends."""
    task = {"path": str(path), "key": key, "shapes": {name: list(array.shape) for name, array in inputs.items()}}
    code = "import sys; from medzoo.loading.peak_memory import print_peak; print_peak(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, json.dumps(task)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def print_peak(task: str) -> None:
    """Load a backend, answer once, and print the most memory that this process had, in MB."""
    given = json.loads(task)
    name, device, precision = given["key"]
    backend = open_backend(Path(given["path"]), backend=name, device=device, precision=precision)
    backend.run({key: np.zeros(shape, np.float32) for key, shape in given["shapes"].items()})
    print(round(_peak_bytes() / 1e6, 1))


def peak_of(process: int) -> float | None:
    """Most memory that another process had, in MB; None where the system does not tell."""
    status = Path(f"/proc/{process}/status")
    return round(_high_water(status) / 1e6, 1) if status.is_file() else None


def _peak_bytes() -> float:
    status = Path("/proc/self/status")
    if status.is_file():
        # getrusage would count the memory of the process that started this one.
        return _high_water(status)
    import resource

    # macOS counts bytes.
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _high_water(status: Path) -> float:
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return 1024.0 * int(line.split()[1])
