"""What `medzoo benchmark` measured, as a table, as JSON and as a plot."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from medzoo.io.atomic import atomic_write
from medzoo.plots.bars import plot_bars


def speed_table(document: Mapping[str, Any]) -> Table:
    """One line for each backend and precision."""
    table = Table(
        *("backend", "p50 ms", "quartiles", "p95 ms", "per s", "batch", "peak MB", "file MB", "differs by"),
        title=f"{document['model']}, {_inputs(document)}, {document['rounds']} rounds in turns",
        box=None,
    )
    for row in document["rows"]:
        low, high = row["spread_ms"]
        table.add_row(
            _label(row),
            f"{row['p50_ms']:.3g}",
            f"{low:.3g}-{high:.3g}",
            f"{row['p95_ms']:.3g}",
            f"{row['per_second']:.4g}",
            str(row["batch"]),
            f"{row['peak_mb']:.0f}",
            f"{row['file_mb']:.3g}",
            ", ".join(f"{name} {value:.2g}" for name, value in row["differences"].items()),
        )
    return table


def write_speed(document: Mapping[str, Any], folder: Path) -> None:
    """benchmark.json and benchmark.png in `folder`. Raises UserError."""
    text = json.dumps(document, indent=1) + "\n"
    atomic_write(folder / "benchmark.json", lambda file: file.write(text.encode()))
    rows = [(_label(row), row["p50_ms"], row["p95_ms"]) for row in document["rows"]]
    title = f"{document['model']}: one input, {_inputs(document)}; median, and the 95th of 100"
    plot_bars(folder / "benchmark.png", rows, title=title, unit="ms")


def _label(row: Mapping[str, Any]) -> str:
    return f"{row['backend']} {row['device']} {row['precision']}"


def _inputs(document: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in document["input"].items())
