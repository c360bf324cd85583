"""Average precision as COCO defines it, for many weightings of the images at once. Knows no boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medzoo.metrics.interval import ratio
from medzoo.types import Array

# COCO's thresholds of recall and of IoU, with the very floats that its reference code makes.
RECALLS = np.linspace(0.0, 1.0, 101)
IOUS = np.linspace(0.5, 0.95, 10)


@dataclass(frozen=True, eq=False)
class RankedDetections:
    """Detections (D,) of one label over all images, best first: `image` (D,) each one's image, `hit` and
    `ignored` (T, D) at T thresholds; `objects` (I,) how many of each image's objects count."""

    image: Array
    hit: Array
    ignored: Array
    objects: Array

    def average_precision(self, weights: Array) -> Array:
        """(R, T) mean over 101 recalls of the best precision at that recall or above; `weights` (R, I).

        NaN in a set without objects. Lin et al., ECCV 2014, and the COCO reference evaluation.
        """
        objects = weights @ self.objects
        out = np.full((len(weights), len(self.hit)), np.nan)
        for t, (hit, ignored) in enumerate(zip(self.hit, self.ignored, strict=True)):
            # Precision can only peak at a hit, so the other columns are dropped once they are summed.
            if not t or not np.array_equal(ignored, self.ignored[t - 1]):
                counted = ~ignored
                drawn = weights[:, self.image[counted]]
                everything = np.cumsum(drawn, axis=1)
            hits = hit[counted]
            called, right = everything[:, hits], np.cumsum(drawn[:, hits], axis=1)
            recall = ratio(right, objects[:, None])
            precision = right / np.maximum(called, 1)
            best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            steps = np.searchsorted(RECALLS, recall, side="right")
            # Recall 0 is reached before the first hit, with the best precision of all.
            reached = np.diff(steps, axis=1, prepend=0)
            out[:, t] = np.sum(best * reached, axis=1) / len(RECALLS)
        out[objects == 0] = np.nan
        return out


def precision_recall(ranked: RankedDetections, *, threshold: int = 0) -> tuple[Array, Array]:
    """Precision and recall (D',) at each counted detection, best first, at one of the IoU thresholds."""
    counted = ~ranked.ignored[threshold]
    right = np.cumsum(ranked.hit[threshold][counted])
    return right / np.arange(1, len(right) + 1), right / max(1, int(ranked.objects.sum()))
