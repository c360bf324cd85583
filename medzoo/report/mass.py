"""The card's part on models that measure masses: what decides, the readable rules, the two protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_PROTOCOLS = {
    "machine-outline": "**machine outline**: the model is given the image alone and finds the mass itself; "
    "this is the figure that counts",
    "expert-outline": "**expert outline**: the model is given the outline that an expert drew, which on some data "
    "sets gives the class away",
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
    for outline, said in training.get("findings", {}).items():
        if "rules" not in said:
            continue
        settings = ", ".join(f"{name} {value:g}" for name, value in said["chosen"].items())
        parts.append("\n".join([
            f"### From {outline}",
            "",
            f"{said['rows']} masses in {said['groups']} groups; {settings}; {said['support_vectors']} support vectors; "
            f"AUC out of grouped folds of the training part {said['out_of_fold_auc']:.3f}.",
            "",
            f"The {len(said['features'])} features it rests on: {', '.join(f'`{name}`' for name in said['features'])}.",
            "",
            "Rules to check by hand: a shallow tree over the same features "
            f"(AUC out of grouped folds {said['tree_out_of_fold_auc']:.3f}).",
            "",
            "```text",
            said["rules"],
            "```",
        ]))  # fmt: skip
    return "\n\n".join(["## What decides", *parts]) if parts else ""
