"""Format metrics for cards, tables and pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_INTERVAL = "; 95 % interval: "  # as medzoo.metrics.accumulator writes it into a protocol


def metric_text(metric: Mapping[str, Any]) -> str:
    """Format a metric with its interval if it has one: "0.912 (0.874 to 0.941)"."""
    if metric["value"] is None:
        return "not defined"
    value = number(metric["value"])
    if metric.get("low") is None:
        return value
    return f"{value} ({number(metric['low'])} to {number(metric['high'])})"


def number(value: float) -> str:
    """Three decimals, none from a hundred on."""
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.0f}"


def shared_interval(protocols: Sequence[str]) -> tuple[list[str], str]:
    """Split off the words on the interval that all protocols share; unchanged protocols and "" where they differ."""
    parts = [protocol.partition(_INTERVAL) for protocol in protocols]
    said = {after for _, mark, after in parts if mark}
    if len(said) != 1:
        return list(protocols), ""
    return [before for before, _, _ in parts], said.pop()
