"""The base of every detector: its metrics on validation items, and the choice of its operating threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from medzoo.data.dataset import IgnoredObjects
from medzoo.metrics.detect import Boxes, DetectScores
from medzoo.metrics.interval import point_estimate
from medzoo.metrics.match import Rule, match
from medzoo.nn.net import Net
from medzoo.runtime.backends import detection_outputs
from medzoo.types import Array

Judged = tuple[Boxes, Boxes]  # what is there (its scores are 1), and what was found


class Detector(Net):
    """A net trained on images with boxes or on regions; its metrics are those of medzoo.metrics.detect.

    `false_positives`: the rate an image, on validation items, at which the operating threshold is chosen; None: the
    threshold of the best F1.
    """

    outputs: tuple[str, ...] = ("boxes", "scores", "labels", "count")
    metrics: tuple[str, ...] = DetectScores.known
    false_positives: float | None = 0.25

    def predictions(self, image: Tensor | tuple[Tensor, ...], target: Sequence[Mapping[str, Tensor]]) -> list[Judged]:
        """Objects and detections of each image of a batch: (B, C, H, W), or all that the graph takes of it."""
        given = image if isinstance(image, tuple) else (image,)
        answer = {name: value.float().cpu().numpy() for name, value in detection_outputs(self(*given)).items()}
        found = []
        for row, truth in enumerate(target):
            count = int(answer["count"][row])
            boxes, labels = truth["boxes"].cpu().numpy(), truth["labels"].cpu().numpy()
            found.append(
                (
                    Boxes(boxes, labels, labels * 0.0 + 1, _ignored(truth)),
                    Boxes(answer["boxes"][row, :count], answer["labels"][row, :count], answer["scores"][row, :count]),
                )
            )
        return found

    def metric(self, name: str, predictions: Sequence[Judged]) -> float:
        """See Net.metric."""
        return point_estimate(_scores(predictions, [name]).measures()[0].statistic, len(predictions))

    def calibrate(self, predictions: Sequence[Judged]) -> None:
        """Choose the operating threshold: by `false_positives` an image, or where F1 is best."""
        scores, rate = _scores(predictions, ("cpm",)), self.false_positives
        chosen = scores.best_f1() if rate is None else scores.threshold_at(rate)
        self.operating_point = (chosen.threshold, chosen.protocol)


def _ignored(truth: Mapping[str, Tensor]) -> IgnoredObjects | None:
    """The objects that do not count (VOC's difficult ones, COCO's crowds) of a validation target, if it has any."""
    if "ignored_boxes" not in truth:
        return None
    boxes, labels = truth["ignored_boxes"].cpu().numpy(), truth["ignored_labels"].cpu().numpy()
    return IgnoredObjects(boxes, labels, bool(truth["crowd"]))


def hits_of(truth: Boxes, found: Boxes, labels: int) -> Array:
    """(D,) 1 where a detection found an object of its class, 0 where not, -1 where it counts as neither."""
    hits = np.zeros(len(found.labels), np.int64)
    for label in range(labels):
        mine = np.flatnonzero(found.labels == label)
        hits[mine] = match(truth.boxes[truth.labels == label], found.boxes[mine], rule=Rule())
    return hits


def _scores(pairs: Sequence[Judged], names: Sequence[str]) -> DetectScores:
    """The accumulator over validation images; labels are numbered over all that occur."""
    highest = max((int(side.labels.max(initial=0)) for pair in pairs for side in pair), default=0)
    scores = DetectScores([str(k) for k in range(highest + 1)], names)
    for number, (truth, found) in enumerate(pairs):
        scores.add(truth, found, item=str(number))
    return scores
