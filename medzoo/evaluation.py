"""Score a Predictor on the items of a data set; needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from medzoo.data.dataset import DataSet, Item
from medzoo.metrics import Accumulator, Boxes, accumulator
from medzoo.results import Classification, Segmentation
from medzoo.runtime.predictor import Predictor


def evaluate(
    predictor: Predictor,
    data: DataSet,
    items: Sequence[Item],
    *,
    metrics: Sequence[str],
    group: str,
    seed: int = 0,
    watch: Callable[[Iterable[Item]], Iterable[Item]] = iter,
) -> Accumulator:
    """The accumulator with every item scored. `group`: the key of Item.groups that intervals resample by.

    `watch` may wrap the items to show progress. Raises UserError for an item that cannot be read.
    """
    metadata = predictor.metadata
    point = metadata.operating_point
    scores = accumulator(
        metadata.task,
        metadata.labels,
        metrics or None,
        threshold=point.threshold if point else None,
        seed=seed,
    )
    for item in watch(items):
        sample = data.load(item)
        result = predictor.answer(predictor.prepare(sample.image))
        spacing = None if sample.image.affine is None else sample.image.spacing
        if isinstance(result, Segmentation):
            answer: Any = result.mask
        elif isinstance(result, Classification):
            answer = np.array([result.probabilities[label] for label in metadata.labels])
        else:
            answer = Boxes(result.boxes, result.classes, result.scores)
        scores.add(sample.target, answer, item=item.id, group=item.groups.get(group), spacing=spacing)
    return scores
