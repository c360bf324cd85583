"""Sections of the card that not every model has: subgroups, worst cases, speed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medzoo.report.metric_text import metric_text
from medzoo.task import task_of

SHEET = "worst.jpg"
_UNITS = {"px": "pixels", "mm": "mm", "ml": "ml"}


def describe_fact(by: str) -> str:
    """`diameter_px` as "diameter, pixels"."""
    name, _, unit = by.rpartition("_")
    return f"{name}, {_UNITS[unit]}" if name and unit in _UNITS else by


def subgroups_section(metrics: Mapping[str, Any]) -> str:
    """The first metrics by what the items are; "" where there are no groups large enough."""
    rows = metrics.get("subgroups") or []
    if not rows:
        return ""
    names = [metric["name"] for metric in rows[0]["figures"]]
    lines = [
        "## By subgroup",
        "",
        f"| by | group | items | {' | '.join(names)} |",
        f"| --- | --- | --- | {' | '.join('---' for _ in names)} |",
    ]
    for row in rows:
        figures = {metric["name"]: metric_text(metric) for metric in row["figures"]}
        cells = " | ".join(figures.get(name, "") for name in names)
        lines.append(f"| {describe_fact(row['by'])} | {row['group']} | {row['items']} | {cells} |")
    return "\n".join(lines)


def worst_section(metrics: Mapping[str, Any]) -> str:
    """The items that were answered worst, with their picture; "" where all were answered without a fault."""
    cases = metrics.get("worst") or []
    if not cases:
        return ""
    lines = ["## Where it fails", "", "The worst answers on the test part; white lines are the reference.", ""]
    lines += [f"![The worst answers]({SHEET})", ""]
    return "\n".join([*lines, *[f"- `{case['item']}`: {case['words']}" for case in cases]])


def describe_calibration(manifest: Mapping[str, Any]) -> str:
    """One sentence on calibration, or on its absence."""
    found = manifest.get("calibration") or {}
    if found.get("method"):
        fitted = f", temperature {found['temperature']:.3f}" if "temperature" in found else ""
        return f"{found['method']}{fitted} ({found['items']} items)"
    general = "not calibrated: probabilities are as the training left them"
    return task_of(manifest["task"]).calibration_words(found or None) or general


def elsewhere_section(elsewhere: Mapping[str, Any] | None) -> str:
    """Section on other data than those of the split; "" if nothing was measured there."""
    return "\n".join(["## Elsewhere", "", *elsewhere_lines(elsewhere)]) if elsewhere else ""


def elsewhere_lines(elsewhere: Mapping[str, Any]) -> list[str]:
    """Words and table of a manifest's `elsewhere`: `on`, `metric`, and by method its `rows` of label -> value."""
    labels = list(next(iter(elsewhere["rows"].values())))
    return [
        elsewhere["on"],
        "",
        f"| {elsewhere['metric']} | {' | '.join(labels)} |",
        f"| --- {'| --- ' * len(labels)}|",
        *[
            f"| {method} | {' | '.join(f'{row[label]:.3f}' for label in labels)} |"
            for method, row in elsewhere["rows"].items()
        ],
    ]


def retrain_command(manifest: Mapping[str, Any]) -> str:
    """The command that trains a model again; of a pipeline, that puts it together again."""
    return f"medzoo {'reproduce' if 'training' in manifest else 'train'} {manifest['name']}"


def speed_section(speed: Mapping[str, Any] | None) -> str:
    """Section on speed by `medzoo benchmark --record`, and the machine; "" if nothing was measured."""
    if speed is None:
        return ""
    made = speed["environment"]
    shape = ", ".join(f"{name} {'x'.join(map(str, sides))}" for name, sides in speed["input"].items())
    machine = f"{made['cores']} cores of {made['processor']}"
    load = made.get("load") or 0.0
    beside = f", which had other work beside it (load {load:g})" if load > made["cores"] + 1 else ""
    lines = [
        "## Speed",
        "",
        f"One input ({shape}), {speed['rounds']} rounds in turns, on {machine}{beside}.",
        "",
        "| backend | device | precision | from opening to first answer, s | median, ms | 95 of 100 within, ms "
        "| most a second |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in speed["rows"]:
        first = "-" if row.get("first_s") is None else f"{row['first_s']:.2g}"
        lines.append(
            f"| {row['backend']} | {row['device']} | {row['precision']} | {first} | {row['p50_ms']:.3g} "
            f"| {row['p95_ms']:.3g} | {row['per_second']:.3g} (batch {row['batch']}) |"
        )
    return "\n".join(lines)
