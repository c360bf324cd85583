"""A limit on the CPU memory of graphs, so that a small file cannot exhaust the machine's memory.

A graph of a few hundred bytes may ask for any amount: a constant of 10 GB, a Loop that doubles what it holds. All
sessions of a process take their tensors from one arena (ONNX Runtime, "Share allocator(s) between sessions"), which
refuses what goes beyond its size, so that the run ends with an error instead of the process with a signal.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from pathlib import Path

import onnxruntime as ort

from medzoo.errors import UserError

VARIABLE = "MEDZOO_GRAPH_MEMORY_MB"
"""Environment variable that sets the limit, in MB of 2**20 bytes."""
_SHARE = 0.5  # of the memory that is free when the first model is loaded: outputs are decoded and written besides
_LEAST = 1 << 30
_REFUSALS = ("BFCArena", "bad_alloc", "bad allocation", "Failed to allocate memory", "out of memory")


def limit_graph_memory(options: ort.SessionOptions) -> None:
    """Make a CPU session allocate from the limited arena. Raises UserError for an invalid VARIABLE."""
    _register_arena()
    options.add_session_config_entry("session.use_env_allocators", "1")


def memory_fault(error: BaseException, *, where: str) -> UserError | None:
    """Return the error for a failed allocation; None for errors of another cause."""
    if not isinstance(error, MemoryError) and not any(words in str(error) for words in _REFUSALS):
        return None
    return UserError(
        f"the graph needs more memory than the limit of {graph_memory() / 2**30:.3g} GB on the CPU",
        where=where,
        hint=f"use smaller images, or raise {VARIABLE} if you trust the model",
    )


def require_room(size: int, what: str, *, where: str) -> None:
    """Raise UserError if `what`, of `size` bytes, is larger than the memory limit of graphs."""
    if size > graph_memory():
        raise UserError(
            f"{what} takes {size / 2**30:.3g} GB; the limit is {graph_memory() / 2**30:.3g} GB on the CPU",
            where=where,
            hint=f"raise {VARIABLE} if you trust the model",
        )


@cache
def graph_memory() -> int:
    """Return the memory limit of all graphs of this process, in bytes.

    It is the value of VARIABLE, else half of the memory that is free at the first call, at least 1 GB. Raises UserError
    for an invalid value.
    """
    setting = os.environ.get(VARIABLE, "").strip()
    if setting:
        if not setting.isdecimal() or not 0 < int(setting) < 1 << 40:
            raise UserError(f"{setting!r} is not a positive number of MB", where=VARIABLE)
        return int(setting) << 20
    return max(_LEAST, int(_SHARE * free_memory()))


def free_memory(root: Path = Path("/")) -> int:
    """Return the bytes available to this process: of the system, or of its control group if that is less.

    Reads cgroup v2 and v1; page cache counts as free. 16 GB where the system does not tell.
    """
    found = [1024 * value for value in _numbers(root / "proc/meminfo", "MemAvailable:")] or [16 << 30]
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            number, controllers, path = line.split(":", 2)
            if number == "0":
                folder, limit, held = root / "sys/fs/cgroup", "memory.max", "anon"
            elif "memory" in controllers.split(","):
                folder, limit, held = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes", "total_rss"
            else:
                continue
            for group in {folder / path.lstrip("/"), folder}:  # within a container the path may be the host's
                with suppress(OSError, ValueError):  # "max": no limit
                    most = int((group / limit).read_text())
                    found.append(max(0, most - sum(_numbers(group / "memory.stat", held))))
    return min(found)


def _numbers(path: Path, key: str) -> list[int]:
    """Return the numbers after `key` in a file with one key per line; empty if there is none."""
    try:
        rows = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return []
    return [int(row[1]) for row in rows if len(row) > 1 and row[0] == key and row[1].isdecimal()]


@cache
def _register_arena() -> None:
    kind = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(kind, ort.OrtArenaCfg({"max_mem": graph_memory()}))
