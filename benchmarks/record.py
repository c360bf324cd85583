"""Results of benchmarks as JSON in benchmarks/results, with the machine named, and printed."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medzoo.artifact.environment import environment

FOLDER = Path(__file__).resolve().parent / "results"


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median, least and largest."""
    return {
        "median": round(statistics.median(values), 5),
        "least": round(min(values), 5),
        "largest": round(max(values), 5),
    }


def machine() -> dict[str, Any]:
    """Processor and cores, for rows that were measured at other times than the rest of a file."""
    found = environment()
    return {name: found[name] for name in ("processor", "instructions", "cores") if name in found}


def record(name: str, **results: Any) -> None:
    """Write results/NAME.json and print it."""
    FOLDER.mkdir(exist_ok=True)
    document = {"benchmark": name, **results, "environment": environment()}
    text = json.dumps(document, indent=1) + "\n"
    (FOLDER / f"{name}.json").write_text(text)
    print(text)
