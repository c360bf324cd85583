"""Drift: what a served model is given and answers lately, against what its file says of its own data.

Kept are counts in bins of familiarity, score and size: no pixel, no name, nothing of one input alone. Familiarity is a
conformal p-value, uniform for images like those of validation, so the mean of -2 log p is 2 for them (Fisher's method
of combining p-values). The alarm rings where it exceeds 4.2 over the last 100 answers: in replays of 10,000 unseen
pictures of a model's own data it reached 3.1, and on those of other scanners it was 7 and more.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

from medzoo.results import Classification, Detections, Result

WINDOW = 100
"""Answers that the alarm looks back on; it is silent before there were so many."""
LIMIT = 4.2
"""Of the mean of -2 log p."""
BINS: Mapping[str, tuple[float, ...]] = {
    "familiarity": (0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0),
    "score": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    "side": (64, 128, 256, 512, 768, 1024, 2048, 4096),
    "spacing": (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0),
}
"""Upper edges; beyond the last is one more bin."""


class Drift:
    """Histograms of one served model, and the alarm."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: dict[str, list[int]] = {name: [0] * (len(edges) + 1) for name, edges in BINS.items()}
        self.verdicts = {"yes": 0, "unsure": 0, "no": 0}
        self._recent: deque[float] = deque(maxlen=WINDOW)
        self.seen = 0
        self.alarmed_at: int | None = None
        """Number of the answer at which the alarm rang first; None while it never did."""

    def observe(self, result: Result | None, familiar: Any) -> None:
        """Count one answer; `result` is None for an input that was refused, `familiar` for a model without a guard."""
        facts: dict[str, float] = {}
        if result is not None:
            if (score := _score(result)) is not None:
                facts["score"] = score
            if result.image is not None:
                facts["side"] = float(max(result.image.shape))
                if result.image.affine is not None:
                    facts["spacing"] = float(max(result.image.spacing))
        with self._lock:
            self.seen += 1
            if familiar is not None:
                facts["familiarity"] = familiar.p
                self.verdicts[familiar.verdict] += 1
                self._recent.append(max(float(familiar.p), 1e-6))
            for name, value in facts.items():
                self.counts[name][_bin(BINS[name], value)] += 1
            if self.alarmed_at is None and self.alarm:
                self.alarmed_at = self.seen

    @property
    def surprise(self) -> float:
        """The mean of -2 log p over the last answers: 2 for images like those of validation; 0 before `WINDOW`."""
        if len(self._recent) < WINDOW:
            return 0.0
        return -2 * sum(math.log(p) for p in self._recent) / len(self._recent)

    @property
    def alarm(self) -> bool:
        """True if the recent inputs are not like the model's own data."""
        return self.surprise > LIMIT

    def to_dict(self) -> dict[str, Any]:
        """The document of the server's route /drift/MODEL."""
        with self._lock:
            return {
                "limit": LIMIT,
                "seen": self.seen,
                "verdicts": dict(self.verdicts),
                "alarm": self.alarm,
                "alarmed_at": self.alarmed_at,
                "surprise": round(self.surprise, 4),
                "window": len(self._recent),
                "histograms": {
                    name: {"upper": list(BINS[name]), "counts": list(counts)} for name, counts in self.counts.items()
                },
            }


def _score(result: Result) -> float | None:
    """Return the score of an answer: of its label, or of its best box."""
    if isinstance(result, Classification):
        return float(max(result.probabilities.values()))
    if isinstance(result, Detections):
        return float(max(result.scores)) if len(result.scores) else 0.0
    return None


def _bin(edges: tuple[float, ...], value: float) -> int:
    return next((n for n, edge in enumerate(edges) if value <= edge), len(edges))
