"""Time of `import medzoo` and `medzoo --help` beside `import torch`, interleaved in one run."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from benchmarks.record import record, summary

ROUNDS = 9
COMMANDS = {
    "python": [sys.executable, "-c", "pass"],
    "import medzoo": [sys.executable, "-c", "import medzoo"],
    "medzoo --help": [str(Path(sys.executable).parent / "medzoo"), "--help"],
    "import torch": [sys.executable, "-c", "import torch"],
}


def seconds(command: list[str]) -> float:
    """Wall time of one process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    for command in COMMANDS.values():  # once, to bring the files into memory
        seconds(command)
    times = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    rows = [{"name": name, "seconds": summary(values)} for name, values in times.items()]
    net = [m - p for m, p in zip(times["import medzoo"], times["python"], strict=True)]
    torch = [t - p for t, p in zip(times["import torch"], times["python"], strict=True)]
    ratios = {
        # The interpreter's own start is in neither import.
        "import medzoo / import torch": summary([a / b for a, b in zip(net, torch, strict=True)]),
        "medzoo --help / import torch": summary(
            [a / b for a, b in zip(times["medzoo --help"], times["import torch"], strict=True)]
        ),
    }
    record("startup", rounds=ROUNDS, rows=rows, ratios=ratios)


if __name__ == "__main__":
    main()
