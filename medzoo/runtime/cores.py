"""How many cores this process may compute on."""

from __future__ import annotations

import os
from pathlib import Path

_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


def cores(topology: str = _TOPOLOGY) -> int:
    """Physical cores among those that this process may use: two threads of one core share its arithmetic.

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
