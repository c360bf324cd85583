"""How a detector is judged on validation items: its figures while it learns, and its operating threshold after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from medzoo.metrics.detect import Boxes, DetectScores
from medzoo.nn.net import Net
from medzoo.training.feeds.batches import Batches

Judged = tuple[Boxes, Boxes]  # what is there (its scores are 1), and what was found


def judged(net: Net, image: Tensor, target: Sequence[Mapping[str, Tensor]]) -> list[Judged]:
    """Objects and detections of each image of a batch (B, C, H, W)."""
    answer = {name: value.float().cpu().numpy() for name, value in net(image).items()}
    found = []
    for row, truth in enumerate(target):
        count = int(answer["count"][row])
        boxes, labels = truth["boxes"].cpu().numpy(), truth["labels"].cpu().numpy()
        found.append(
            (
                Boxes(boxes, labels, labels * 0.0 + 1),
                Boxes(answer["boxes"][row, :count], answer["labels"][row, :count], answer["scores"][row, :count]),
            )
        )
    return found


def scores_of(pairs: Iterable[Judged], names: Sequence[str]) -> DetectScores:
    """The accumulator over validation images; labels are numbered over all that occur."""
    pairs = list(pairs)
    highest = max((int(side.labels.max(initial=0)) for pair in pairs for side in pair), default=0)
    scores = DetectScores([str(k) for k in range(highest + 1)], names)
    for number, (truth, found) in enumerate(pairs):
        scores.add(truth, found, item=str(number))
    return scores


def operating_point(net: Net, batches: Batches, *, rate: float) -> tuple[float, str]:
    """The lowest threshold with at most `rate` false positives an image, and the rule in words."""
    pairs: list[Judged] = []
    with torch.inference_mode():
        for step in range(len(batches)):
            pairs += judged(net, *batches.batch(0, step))
    chosen = scores_of(pairs, ("cpm",)).threshold_at(rate)
    return chosen.threshold, chosen.protocol
