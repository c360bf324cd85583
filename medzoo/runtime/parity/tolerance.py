"""Tolerances of the parity gate, by precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from medzoo.runtime.metadata import Precision


@dataclass(frozen=True)
class Tolerance:
    """Allowed differences of an export of one precision from PyTorch.

    `allowed`: largest absolute difference by output; of a label map the share of pixels. `close`: a label may
    differ where torch's two best probabilities are closer than this. `sure`: detections below this score are not
    compared (None: all are, and their number must be the same); where it is given, "boxes" is one minus the
    intersection over union, and `lost` the detections of an input that may have no partner.
    """

    allowed: Mapping[str, float]
    close: float
    sure: float | None = None
    lost: int = 0


# fp32: rounding of sums in another order. The lossy ones are held to their task's metric besides
# (Task.allowed_loss); what stands here finds a graph that is broken.
TOLERANCES: Mapping[Precision, Tolerance] = {
    "fp32": Tolerance(
        {"probabilities": 1e-4, "scores": 1e-4, "boxes": 1e-2, "masks": 1e-4, "count": 0, "labels": 0}, close=1e-3
    ),
    "fp16": Tolerance(
        {"probabilities": 0.03, "scores": 0.05, "boxes": 0.25, "masks": 0.1, "labels": 0}, close=0.06, sure=0.3
    ),
    "int8": Tolerance(
        {"probabilities": 0.5, "scores": 0.4, "boxes": 0.4, "masks": 0.4, "labels": 0.01}, close=0.5, sure=0.5, lost=1
    ),
    "bf16": Tolerance(
        {"probabilities": 0.3, "scores": 0.2, "boxes": 0.3, "masks": 0.3, "labels": 0.01}, close=0.3, sure=0.4, lost=1
    ),
}
