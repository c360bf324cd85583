"""The results of `medzoo benchmark` as a table, as JSON and as a plot."""

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
    metric = document["metric"]
    name = f"{metric['name']}, {metric['items']} {metric['split']} items" if metric else "metric"
    table = Table(
        *("backend", "first s", "p50 ms", "quartiles", "p95 ms", "per s", "batch", "peak MB", "file MB", "differs by"),
        *(name, "loss"),
        title=f"{document['model']}, {_inputs(document)}, {document['rounds']} rounds in turns",
        box=None,
    )
    for row in document["rows"]:
        low, high = row["spread_ms"]
        least, most = row["per_second_spread"]
        table.add_row(
            _label(row),
            _or_dash(row["first_s"], ".2f"),
            f"{row['p50_ms']:.3g}",
            f"{low:.3g}-{high:.3g}",
            f"{row['p95_ms']:.3g}",
            f"{row['per_second']:.4g} ({least:.4g}-{most:.4g})",
            str(row["batch"]),
            _or_dash(row["peak_mb"], ".0f"),
            f"{row['file_mb']:.3g}",
            ", ".join(f"{name} {value:.2g}" for name, value in row["differences"].items()),
            _or_dash(row["metric"], ".4f"),
            _or_dash(row["loss"], ".4f"),
        )
    return table


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def write_speed(document: Mapping[str, Any], folder: Path) -> None:
    """benchmark.json and benchmark.png in `folder`. Raises UserError."""
    text = json.dumps(document, indent=1) + "\n"
    atomic_write(folder / "benchmark.json", lambda file: file.write(text.encode()))
    rows = document["rows"]
    panels = [
        (
            f"{document['model']}: one input, {_inputs(document)}; median, and the 95th of 100",
            "ms",
            [(_label(row), row["p50_ms"], row["p95_ms"]) for row in rows],
        ),
        (
            "inputs a second at the best batch size; median, and the best round",
            "/s",
            [(_label(row), row["per_second"], row["per_second_spread"][1]) for row in rows],
        ),
        (
            "from opening the file to the first answer",
            "s",
            [(_label(row), row["first_s"], row["first_s"]) for row in rows if row["first_s"] is not None],
        ),
        (
            "most memory of a process that answers once",
            "MB",
            [(_label(row), row["peak_mb"], row["peak_mb"]) for row in rows if row["peak_mb"] is not None],
        ),
    ]
    if metric := document["metric"]:
        values = [(_label(row), row["metric"], row["metric"]) for row in rows if row["metric"] is not None]
        panels.append((f"{metric['name']} on {metric['items']} {metric['split']} items", "", values))
    plot_bars(folder / "benchmark.png", panels)


def _label(row: Mapping[str, Any]) -> str:
    return f"{row['backend']} {row['device']} {row['precision']}"


def _inputs(document: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in document["input"].items())
