"""Free-response ROC: sensitivity against false positives an image, and the threshold for a wanted rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medzoo.metrics.interval import ratio
from medzoo.types import Array

RATES = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True)
class DetectionPoint:
    """A threshold (score >= threshold is shown), what it gave where it was chosen, and how it was chosen."""

    threshold: float
    sensitivity: float
    false_positives: float
    protocol: str


class Froc:
    """Detections (D,) of all images: `scores`, `status` (1 hit, 0 false, -1 not counted), `image` indices;
    `objects` (I,) how many objects each image holds. Equal scores are shown together or not at all."""

    def __init__(self, scores: Array, status: Array, image: Array, objects: Array) -> None:
        order = np.argsort(-scores, kind="stable")
        ranked = scores[order]
        self.status, self.image, self.objects = status[order], image[order], objects
        self.ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else np.array([], int)
        self.thresholds = ranked[self.ends]

    def counts(self, weights: Array) -> tuple[Array, Array]:
        """Hits and false positives (R, 1 + thresholds) by multiplicities (R, I), none shown first."""
        drawn = weights[:, self.image]
        start = np.zeros((len(weights), 1))
        hits = np.cumsum(drawn * (self.status == 1), axis=1)[:, self.ends]
        false = np.cumsum(drawn * (self.status == 0), axis=1)[:, self.ends]
        return np.hstack([start, hits]), np.hstack([start, false])

    def sensitivities(self, weights: Array, *, rates: tuple[float, ...] = RATES) -> Array:
        """(R, rates) highest sensitivity with at most each rate of false positives an image (no interpolation
        between thresholds); NaN in a set without objects."""
        hits, false = self.counts(weights)
        images, objects = weights.sum(axis=1), weights @ self.objects
        out = np.empty((len(weights), len(rates)))
        rows = np.arange(len(weights))
        for i, rate in enumerate(rates):
            reached = np.sum(false <= (rate * images)[:, None] + 1e-9, axis=1) - 1
            out[:, i] = hits[rows, reached]
        return ratio(out, objects[:, None])

    def at(self, weights: Array, *, threshold: float | None) -> Array:
        """(R, 2) sensitivity, and false positives an image, of what scores >= threshold (None: of all)."""
        least = -np.inf if threshold is None else threshold
        shown = int(np.sum(self.thresholds >= least))
        hits, false = self.counts(weights)
        found = ratio(hits[:, shown], weights @ self.objects)
        return np.stack([found, false[:, shown] / weights.sum(axis=1)], axis=1)

    def cpm(self, weights: Array) -> Array:
        """(R,) competition performance metric: the mean sensitivity at 1/8 to 8 (Setio et al., 2017)."""
        mean: Array = self.sensitivities(weights).mean(axis=1)
        return mean

    def curve(self) -> tuple[Array, Array, Array]:
        """False positives an image, sensitivity and threshold (T,), from nothing shown (threshold inf)."""
        hits, false = self.counts(np.ones((1, len(self.objects))))
        objects = max(1, int(self.objects.sum()))
        return false[0] / len(self.objects), hits[0] / objects, np.append(np.inf, self.thresholds)

    def threshold_at(self, rate: float) -> DetectionPoint:
        """The lowest threshold with at most `rate` false positives an image; for validation data."""
        false, sensitivity, thresholds = self.curve()
        i = int(np.sum(false <= rate + 1e-9)) - 1
        if i:
            threshold = thresholds[i]
        elif len(thresholds) > 1:
            # Even the best score is one too many. Scores are float32, so the step above it must be one too.
            threshold = np.nextafter(np.float32(thresholds[1]), np.float32(np.inf))
        else:
            threshold = 0.0
        return DetectionPoint(
            float(threshold),
            float(sensitivity[i]),
            float(false[i]),
            f"lowest threshold with at most {rate:g} false positives an image on {len(self.objects)} validation images",
        )

    def best_f1(self) -> DetectionPoint:
        """The threshold of the best F1, twice the hits over the objects and all that is shown; of equals the highest.

        For validation data; where nothing is ever hit, nothing is shown.
        """
        hits, false = (counts[0] for counts in self.counts(np.ones((1, len(self.objects)))))
        objects = int(self.objects.sum())
        f1 = 2 * hits / np.maximum(objects + hits + false, 1)
        i = int(f1.argmax())
        if not i:
            return self.threshold_at(0)
        return DetectionPoint(
            float(self.thresholds[i - 1]),
            float(hits[i] / objects),
            float(false[i] / len(self.objects)),
            f"best F1 ({f1[i]:.3f}) on {len(self.objects)} validation images",
        )
