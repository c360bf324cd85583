"""After a model folder was added to zoo/ or changed there: cards, index and its digest, README's table, docs/claim.md.

    make zoo-index

Nobody types a figure: every row comes from the model's manifest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import claim

from medzoo.artifact import ModelFolder
from medzoo.artifact.manifest import is_non_commercial
from medzoo.commands.fetch import write_index
from medzoo.commands.show import describe_evaluation, describe_input
from medzoo.io.atomic import atomic_write
from medzoo.report.card import render_card, update_folder
from medzoo.report.sections import metric_text

ROOT = Path(__file__).resolve().parents[1]
START, END = "<!-- zoo -->", "<!-- /zoo -->"
# The figures that a row shows, the first two of these that a model has.
SHOWN = (
    "machine-outline/auc", "expert-outline/auc", "expert-outline/auc/size-only", "ap10", "ap50", "cpm", "dice", "hd95",
    "auc", "balanced-accuracy",
)  # fmt: skip


def row(manifest: Mapping[str, Any]) -> str:
    """A model's line in the README's table."""
    figures = {figure["name"]: figure for figure in manifest["metrics"]["figures"]}
    shown = [f"{name} {metric_text(figures[name])}" for name in SHOWN if name in figures][:2]
    size = sum(facts["bytes"] for name, facts in manifest["files"].items() if name == "model.onnx") / 1e6
    name = manifest["name"]
    marked = " (non-commercial)" if is_non_commercial(manifest.get("license", "")) else ""
    return (
        f"| [{name}](zoo/{name}/README.md){marked} | {describe_input(manifest)} | {describe_evaluation(manifest)} "
        f"| {', '.join(shown)} | {f'{size:.2g}' if size else 'its members'} |"
    )


def table() -> str:
    """The whole table, a row a model."""
    manifests = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(ROOT.glob("zoo/*/manifest.json"))]
    head = ["| model | input | measured on | metric (95 % interval) | ONNX, MB |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([START, *head, *map(row, manifests), END])


def readme() -> str:
    """README.md with the table of what lies in zoo/ now."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    before, rest = text.split(START)
    return before + table() + rest.split(END)[1]


def renew_cards() -> None:
    """Cards as this code renders the manifests; what a card says is the manifest's, so no figure changes."""
    for manifest in sorted(ROOT.glob("zoo/*/manifest.json")):
        folder = ModelFolder.open(manifest.parent)
        brains = {name for name, _ in claim.BRAINS}
        elsewhere = claim.real_head() if folder.manifest["name"] in brains else None
        changes = {"elsewhere": elsewhere} if elsewhere != folder.manifest.get("elsewhere") else {}
        if changes or folder.file("README.md").read_text(encoding="utf-8") != render_card(folder.manifest):
            update_folder(folder, **changes)


def main() -> None:
    renew_cards()
    write_index(ROOT / "zoo")
    text = readme()
    atomic_write(ROOT / "README.md", lambda file: file.write(text.encode()))
    claim.write(fresh=False)


if __name__ == "__main__":
    main()
