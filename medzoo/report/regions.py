"""The card's part on models that judge proposed regions: what their machines learned from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def regions_section(training: Mapping[str, Any]) -> str:
    """Numbers of objects and regions behind each SVM and box regression; "" for other models."""
    rows = [(label, said) for label, said in training.get("findings", {}).items() if "reached" in said]
    if not rows:
        return ""
    return "\n".join(
        [
            "## What the machines learned from",
            "",
            "Regions are proposed without any learning, and what is not proposed cannot be found: `reached` is the "
            "share of the training objects that some region overlaps by half.",
            "",
            "| label | objects | background | hard background | regions that teach boxes | reached |",
            "| --- | --- | --- | --- | --- | --- |",
            *(
                f"| {label} | {said['objects']} | {said['background']} | {said['hard']} | {said['boxes']} "
                f"| {said['reached']:.3f} |"
                for label, said in rows
            ),
        ]
    )
