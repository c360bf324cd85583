"""Text for the terminal: the last screen of a training, a table of metrics, a line a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import rich.console
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from medzoo.escape import escaped, printable
from medzoo.report.sections import metric_text


class Console(rich.console.Console):
    """A console that prints no control characters but those of its own styles and new lines.

    A new line in a name must be escaped by whoever puts the name into a text, see `medzoo.escape`.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        """See rich.console.Console."""
        return super().render_str(printable(text, keep="\n\t"), **options)


def metrics_table(metrics: Sequence[Mapping[str, Any]]) -> Table:
    """Name, value with interval, protocol."""
    table = Table(Column("figure", overflow="fold"), "value (95 % interval)", "protocol", box=None, pad_edge=False)
    for metric in metrics:
        table.add_row(metric["name"], metric_text(metric), metric["protocol"])
    return table


def training_summary(folder: Path, manifest: Mapping[str, Any], *, console: Console) -> None:
    """The summary after a training: metrics, files, and the next commands."""
    console.print()
    console.print(metrics_table(manifest["metrics"]["figures"]))
    work = f"{manifest['training']['steps']} steps" if "training" in manifest else "nothing to train"
    console.print(f"\n[bold]{manifest['name']}[/] is in {folder} after {manifest['seconds']:.0f} s ({work}):")
    for name, facts in manifest["files"].items():
        console.print(f"  {name:<20} {facts['bytes'] / 1e6:8.2f} MB")
    console.print("\nnext:")
    for command in (f"predict {folder} SCAN -o predictions", f"show {folder}", f"verify {folder}"):
        console.print(f"  medzoo {command}")


def result_line(answer: Mapping[str, Any]) -> str:
    """One answer of `predict` in a line."""
    head = f"{escaped(answer['input'])}: "
    if "detections" in answer:
        found = answer["detections"]
        words = [
            f"{d['label']} {d['score']:.2f} at {[round(v) for v in d['box']]}{_members_text(d.get('members', {}))}"
            for d in found[:5]
        ]
        more = f", and {len(found) - 5} more" if len(found) > 5 else ""
        return head + (f"{len(found)} found: {', '.join(words)}{more}" if found else "nothing found")
    if "probabilities" in answer:
        probabilities: Mapping[str, float] = answer["probabilities"]
        likeliest = max(probabilities, key=probabilities.__getitem__)
        # Set for few misses, or for few alarms, the threshold may lie on either side of a half.
        point = "" if answer["label"] == likeliest else ", by the model's operating threshold"
        line = head + f"{answer['label']} ({', '.join(f'{k} {p:.2f}' for k, p in probabilities.items())}{point})"
        return (
            line if answer.get("sure", True) else f"{line}, not sure: {' or '.join(answer['label_set']) or 'none fits'}"
        )
    shares = answer.get("ejection_fraction")
    if shares is not None:
        told = ", ".join(f"{label} {100 * share:.0f} %" for label, share in shares.items())
        return (
            head
            + (f"ejection fraction {told}" if told else "no cavity found")
            + (f"; masks {escaped(answer['mask'])}" if "mask" in answer else "")
        )
    sizes = answer.get("volumes_ml") or answer.get("areas_px") or {}
    unit = "ml" if "volumes_ml" in answer else "px"
    return (
        head
        + ", ".join(f"{label} {size:.0f} {unit}" for label, size in sizes.items())
        + (f"; mask {escaped(answer['mask'])}" if "mask" in answer else "")
    )


def _members_text(members: Mapping[str, Mapping[str, float]]) -> str:
    """The probabilities of a pipeline's classifiers for one box, in brackets."""
    parts = [f"{name}: {max(p, key=p.__getitem__)} {max(p.values()):.2f}" for name, p in members.items()]
    return f" ({', '.join(parts)})" if parts else ""


def comparison_tables(document: Mapping[str, Any]) -> list[Table]:
    """Metrics side by side, then each later model minus the first, then the recipe fields that differ."""
    names = document["models"]
    side = Table(
        Column("figure", overflow="fold"),
        *names,
        box=None,
        pad_edge=False,
        title=f"on the same {document['items']} items",
    )
    by_name = {name: {f["name"]: f for f in document["figures"][name]} for name in names}
    for metric in document["figures"][names[0]]:
        cells = [by_name[name].get(metric["name"]) for name in names]
        side.add_row(metric["name"], *[metric_text(cell) if cell else "" for cell in cells])
    tables = [side]
    for name, metrics in document["differences"].items():
        table = Table(
            "figure", "difference (95 % interval)", box=None, pad_edge=False, title=f"{name} minus {names[0]}"
        )
        for metric in metrics:
            table.add_row(metric["name"], metric_text(metric))
        tables.append(table)
    recipes = Table("recipe field", *names, box=None, pad_edge=False)
    for field, values in document["recipes"].items():
        recipes.add_row(field, *[str(values[name]) for name in names])
    return [*tables, recipes]


def _plain(words: str) -> str:
    """Words from outside as a cell: one line, and nothing in them is markup."""
    return escape(escaped(words))


def audit_summary(document: Mapping[str, Any], *, console: Console) -> None:
    """Leaks pair by pair and findings by kind."""
    sides = ", ".join(f"{count} {part}" for part, count in document["splits"].items())
    console.print(f"{document['images']} images: {sides}")
    if document["leaks"]:
        table = Table("leak", "image", "and", "sides", "labels", box=None, pad_edge=False)
        for leak in document["leaks"]:
            sides, labels = " / ".join(leak["splits"]), " / ".join(leak["labels"])
            table.add_row(*[_plain(cell) for cell in (leak["kind"], leak["a"], leak["b"], sides, labels)])
        console.print(table)
    console.print(f"{len(document['leaks'])} leaks between the parts of the split")
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for finding in document["findings"]:
        kinds.setdefault(finding["kind"], []).append(finding)
    for kind, findings in kinds.items():
        console.print(f"\n[bold]{kind}[/] ({len(findings)})")
        for finding in findings[:5]:
            place = f"{escaped(finding['image'])}: " if finding["image"] else ""
            words = f"{place}{' '.join(finding['text'].split())}"
            console.print(f"  {words}", markup=False)
        if len(findings) > 5:
            console.print(f"  and {len(findings) - 5} more (--json lists all)")
