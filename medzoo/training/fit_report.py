"""The report of a fit, for the manifest and the card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class FitReport:
    """The report of a fit: optimiser steps, seconds, the curve [(step, loss, val_loss or None)], the best loss, and
    the findings of a closed-form fit."""

    steps: int
    seconds: float
    curve: list[tuple[int, float, float | None]] = field(default_factory=list)
    best: float | None = None
    bottleneck: str = ""
    findings: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> Mapping[str, Any]:
        """For the manifest."""
        return {
            "steps": self.steps,
            "seconds": round(self.seconds, 1),
            "best_val_loss": self.best,
            "bottleneck": self.bottleneck,
            "curve": [[step, round(loss, 5), None if val is None else round(val, 5)] for step, loss, val in self.curve],
            **({"findings": self.findings} if self.findings else {}),
        }
