"""Brain tissue beside published results: Dice of patch CNNs and others, each with its own protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medzoo.report.metric_text import metric_text

TISSUES = ("csf", "grey-matter", "white-matter")
# Mean of the eight rows of the slides that this model is built after; published means on IBSR18.
PUBLISHED: tuple[tuple[str, tuple[float, float, float]], ...] = (
    ("the patch CNN of the slides, mean of 8 scans", (0.7787, 0.9003, 0.8633)),
    ("U-Net on IBSR18", (0.89, 0.94, 0.93)),
    ("modified U-Net on IBSR18 (arXiv 1807.07510)", (0.861, 0.913, 0.900)),
)
_PROTOCOLS = (
    "The rows are not a ranking, for their protocols differ. Those of others: trained and tested on scans of one "
    "collection whose tissues experts drew, fluid within the sulci counted as grey matter (IBSR's segTRI), inside "
    "the brain's mask. Ours: trained on synthetic scans alone; what it was scored on stands above; all fluid is "
    "fluid, the brain stem is white matter, the deep nuclei are grey."
)


def tissue_section(metrics: Mapping[str, Any]) -> str:
    """Markdown for a model whose Dice of the three tissues was measured, else nothing."""
    figures = {metric["name"]: metric for metric in metrics["figures"]}
    own = [figures.get(f"dice/{tissue}") for tissue in TISSUES]
    if any(metric is None for metric in own):
        return ""
    lines = [
        "## Beside published figures",
        "",
        f"| Dice | {' | '.join(TISSUES)} |",
        "| --- | --- | --- | --- |",
        f"| this model | {' | '.join(metric_text(metric) for metric in own if metric is not None)} |",
        *[f"| {name} | {' | '.join(map(str, values))} |" for name, values in PUBLISHED],
        "",
        _PROTOCOLS,
    ]
    return "\n".join(lines)
