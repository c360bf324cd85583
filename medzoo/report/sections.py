"""Sections of the card, most of which only some models have, and how cards, tables and pages format metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medzoo.task import task_of

_INTERVAL = "; 95 % interval: "  # as medzoo.metrics.accumulator writes it into a protocol


def metric_text(metric: Mapping[str, Any]) -> str:
    """Format a metric with its interval if it has one: "0.912 (0.874 to 0.941)"."""
    if metric["value"] is None:
        return "not defined"
    value = format_number(metric["value"])
    if metric.get("low") is None:
        return value
    return f"{value} ({format_number(metric['low'])} to {format_number(metric['high'])})"


def format_number(value: float) -> str:
    """Three decimals, none from a hundred on."""
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.0f}"


def shared_interval(protocols: Sequence[str]) -> tuple[list[str], str]:
    """Split off the words on the interval that all protocols share; unchanged protocols and "" where they differ."""
    parts = [protocol.partition(_INTERVAL) for protocol in protocols]
    intervals = {after for _, mark, after in parts if mark}
    if len(intervals) != 1:
        return list(protocols), ""
    return [before for before, _, _ in parts], intervals.pop()


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
    """The worst predictions with their picture; "" where all were right."""
    cases = metrics.get("worst") or []
    if not cases:
        return ""
    lines = ["## Where it fails", "", "The worst predictions on the test part; white lines are the reference.", ""]
    lines += [f"![The worst predictions]({SHEET})", ""]
    return "\n".join([*lines, *[f"- `{case['item']}`: {case['words']}" for case in cases]])


def describe_calibration(manifest: Mapping[str, Any]) -> str:
    """One sentence on calibration, or on its absence."""
    found = manifest.get("calibration") or {}
    if found.get("method"):
        fitted = f", temperature {found['temperature']:.3f}" if "temperature" in found else ""
        return f"{found['method']}{fitted} ({found['items']} items)"
    general = "not calibrated: probabilities are as training left them"
    return task_of(manifest["task"]).calibration_words(found or None) or general


def local_section(manifest: Mapping[str, Any]) -> str:
    """Section on what a site set anew; "" for a model as it was trained."""
    local, parent = manifest.get("local"), manifest.get("parent")
    if not local or not parent:
        return ""
    rows = [("temperature", "temperature"), ("threshold", "operating threshold"), ("f1", "F1 there")]
    rows += [("ece_before", "ECE before"), ("ece_after", "ECE after, out of fold")]
    told = [f"| {words} | {local[name]:.4g} |" for name, words in rows if name in local]
    return "\n".join(
        [
            "## Calibrated at a site",
            "",
            f"From {local['items']} local items of `{local['on']}`; network and weights are those of {parent['name']} "
            f"(manifest SHA-256 `{parent['digest'][:16]}`), and what is measured above was measured on that.",
            "",
            "| | |",
            "| --- | --- |",
            *told,
        ]
    )


_ALTERED = "-flagged"


def guard_section(guard: Mapping[str, Any] | None) -> str:
    """Section on what the guard lets pass; "" without one."""
    if not guard:
        return ""
    rates = guard["rates"]
    flagged = {name.removesuffix(_ALTERED): rate for name, rate in rates.items() if name.endswith(_ALTERED)}
    lines = [
        "## Guard",
        "",
        f"Each input is compared with {guard['items']} training images: `familiar` in an answer says `yes`, `unsure` "
        f"(p of {guard['unsure']:g} or less, p from {guard['validation']} validation images) or `no`, which is refused "
        "unless `--anyway` is given. It knows what the training images looked like, not what the model does well.",
        "",
        "| images | yes | unsure | no |",
        "| --- | --- | --- | --- |",
        f"| own, validation part | {_percent(rates['own-yes'])} | {_percent(rates['own-unsure'])} "
        f"| {_percent(rates['own-no'])} |",
    ]
    for row in guard.get("measured", ()):
        lines.append(
            f"| {row['on']}, {row['items']} | {' | '.join(_percent(row[v]) for v in ('yes', 'unsure', 'no'))} |"
        )
    if flagged:
        told = ", ".join(f"{name} {_percent(rate)}" for name, rate in flagged.items())
        lines += ["", f"Altered training images that are at least `unsure`: {told}."]
    return "\n".join(lines)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def beside_section(beside: Mapping[str, Any] | None) -> str:
    """Section on a model beside the one that its training began with, on the same items; "" if it began with none."""
    if not beside:
        return ""
    rows = [
        f"| {row['name']} | {_number(row['parent'])} | {_number(row['tuned'])} | {_interval(row)} |"
        for row in beside["rows"]
    ]
    table = [f"| metric | {beside['parent']} | this model | difference (95 % interval) |", "| --- | --- | --- | --- |"]
    return "\n".join(["## Beside its parent", "", beside["words"], "", *table, *rows])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(row: Mapping[str, Any]) -> str:
    if row["low"] is None:
        return _number(row["difference"])
    return f"{_number(row['difference'])} ({_number(row['low'])} to {_number(row['high'])})"


def elsewhere_section(elsewhere: Mapping[str, Any] | None) -> str:
    """Section on other data than those of the split; "" if nothing was measured there."""
    return "\n".join(["## On other data", "", *elsewhere_lines(elsewhere)]) if elsewhere else ""


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
    beside = f", which had other work to do (load {load:g})" if load > made["cores"] + 1 else ""
    lines = [
        "## Speed",
        "",
        f"One input ({shape}), {speed['rounds']} interleaved rounds, on {machine}{beside}.",
        "",
        "| backend | device | precision | loading and first prediction, s | median, ms | 95th percentile, ms "
        "| inputs per second |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in speed["rows"]:
        first = "-" if row.get("first_s") is None else f"{row['first_s']:.2g}"
        lines.append(
            f"| {row['backend']} | {row['device']} | {row['precision']} | {first} | {row['p50_ms']:.3g} "
            f"| {row['p95_ms']:.3g} | {row['per_second']:.3g} (batch {row['batch']}) |"
        )
    return "\n".join(lines)


_PROTOCOLS = {
    "machine-outline": "**machine outline**: the model is given the image alone and finds the mass itself; "
    "this is the metric that counts",
    "expert-outline": "**expert outline**: the model is given the outline that an expert drew, which on some "
    "datasets gives the class away",
}


def protocols_note(metrics: Sequence[Mapping[str, Any]]) -> str:
    """Explain the protocol names before the slash; "" for models of one plain protocol."""
    used = [words for name, words in _PROTOCOLS.items() if any(f["name"].startswith(f"{name}/") for f in metrics)]
    if not used:
        return ""
    lines = ["Protocols:", "", *[f"- {words}" for words in used]]
    lines.append(
        "- `size-only` ranks the same masses by their diameter alone; `minus-size-only` is the paired difference"
    )
    return "\n".join(lines)


def findings_section(training: Mapping[str, Any]) -> str:
    """Section on an SVM's fit: its settings, the features it kept, and a readable decision tree."""
    parts = []
    for outline, fit in training.get("findings", {}).items():
        if "rules" not in fit:
            continue
        settings = ", ".join(f"{name} {value:g}" for name, value in fit["chosen"].items())
        parts.append("\n".join([
            f"### From {outline}",
            "",
            f"{fit['rows']} masses in {fit['groups']} groups; {settings}; {fit['support_vectors']} support vectors; "
            f"out-of-fold AUC on the training part, in grouped folds: {fit['out_of_fold_auc']:.3f}.",
            "",
            f"The {len(fit['features'])} selected features: {', '.join(f'`{name}`' for name in fit['features'])}.",
            "",
            "Rules to check by hand: a shallow decision tree on the same features "
            f"(out-of-fold AUC {fit['tree_out_of_fold_auc']:.3f}).",
            "",
            "```text",
            fit["rules"],
            "```",
        ]))  # fmt: skip
    return "\n\n".join(["## Features and rules", *parts]) if parts else ""


def regions_section(training: Mapping[str, Any]) -> str:
    """Numbers of objects and regions behind each SVM and box regression; "" for other models."""
    rows = [(label, counts) for label, counts in training.get("findings", {}).items() if "reached" in counts]
    if not rows:
        return ""
    return "\n".join(
        [
            "## Regions used in training",
            "",
            "Regions are proposed without learning, and an object that no region covers cannot be found: `reached` is "
            "the share of training objects that some region overlaps by half.",
            "",
            "| label | objects | background | hard background | regions for box regression | reached |",
            "| --- | --- | --- | --- | --- | --- |",
            *(
                f"| {label} | {counts['objects']} | {counts['background']} | {counts['hard']} | {counts['boxes']} "
                f"| {counts['reached']:.3f} |"
                for label, counts in rows
            ),
        ]
    )


TISSUES = ("csf", "grey-matter", "white-matter")
# Mean of the eight rows of the slides that this model is built after; published means on IBSR18.
PUBLISHED: tuple[tuple[str, tuple[float, float, float]], ...] = (
    ("the patch CNN of the slides, mean of 8 scans", (0.7787, 0.9003, 0.8633)),
    ("U-Net on IBSR18", (0.89, 0.94, 0.93)),
    ("modified U-Net on IBSR18 (arXiv 1807.07510)", (0.861, 0.913, 0.900)),
)
_TISSUE_PROTOCOLS = (
    "The rows are no ranking, because their protocols differ. The published models were trained and tested on scans of "
    "one collection, inside its brain masks, with tissues drawn by experts who counted fluid in the sulci as grey "
    "matter (IBSR's segTRI). This model was trained on synthetic scans only and scored as stated above; fluid counts "
    "as fluid everywhere, the brain stem as white matter, the deep nuclei as grey matter."
)


def tissue_section(metrics: Mapping[str, Any]) -> str:
    """Markdown for a model whose Dice of the three tissues was measured, else nothing."""
    figures = {metric["name"]: metric for metric in metrics["figures"]}
    own = [figures.get(f"dice/{tissue}") for tissue in TISSUES]
    if any(metric is None for metric in own):
        return ""
    lines = [
        "## Published results",
        "",
        f"| Dice | {' | '.join(TISSUES)} |",
        "| --- | --- | --- | --- |",
        f"| this model | {' | '.join(metric_text(metric) for metric in own if metric is not None)} |",
        *[f"| {name} | {' | '.join(map(str, values))} |" for name, values in PUBLISHED],
        "",
        _TISSUE_PROTOCOLS,
    ]
    return "\n".join(lines)
