"""The table of `medzoo list`: a line a model where the terminal is wide enough, else a few short lines a model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.padding import Padding
from rich.table import Table

from medzoo.artifact.manifest import is_non_commercial
from medzoo.report.sections import metric_text
from medzoo.report.summary import Console

_COLUMNS = ("model", "task", "input", "measured on", "figure (95 % interval)", "MB", "licence")


def models_table(models: Sequence[Mapping[str, Any]], *, width: int) -> Table:
    """The models of `list --json` for a terminal of `width` columns. Names and metrics are never cut."""
    rows = [_cells(model) for model in models]
    wide = Table(box=None, pad_edge=False)
    for column in _COLUMNS:
        wide.add_column(column, no_wrap=True, justify="right" if column == "MB" else "left")
    for row in rows:
        wide.add_row(*row)
    if Console(width=10_000).measure(wide).maximum <= width:
        return wide
    narrow = Table(box=None, pad_edge=False)
    names = max(len(row[0]) for row in rows)
    narrow.add_column("model", min_width=names)
    narrow.add_column("figure (95 % interval)")
    narrow.add_column("MB", justify="right", no_wrap=True)
    narrow.add_column("licence", no_wrap=True)
    for name, task, given, measured, metric, size, licence in rows:
        below = Padding(f"{task}: {given}", (0, 0, 0, 2))
        narrow.add_row(Group(name, below), f"{metric}\n{measured}", size, licence)
    return narrow


def _cells(model: Mapping[str, Any]) -> tuple[str, ...]:
    metric = model["figure"]
    words = f"{metric['name']} {metric_text(metric)}" if metric else ""
    size = f"{model['bytes'] / 1e6:.1f}"
    return (model["name"], model["task"], model["input"], model["measured_on"], words, size, _short(model["license"]))


def _short(licence: str) -> str:
    """The licence's or the dataset's own name, and if it forbids commercial use; the card has the rest."""
    short = re.split(r" \(|[,;]", licence)[0]
    return f"{short}, non-commercial" if is_non_commercial(licence) else short
