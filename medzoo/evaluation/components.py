"""Rules on connected components, chosen on validation items by the Dice coefficient."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from medzoo.data.dataset import Dataset, Item
from medzoo.runtime.decode.components import keep_components
from medzoo.runtime.metadata import ComponentRule
from medzoo.runtime.predictor import Predictor
from medzoo.types import IGNORED

_VOLUMES = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
"""Least volumes that are tried, mm^3 (pixels of pictures)."""
_GAIN = 1e-4
"""Mean Dice by which a rule must be better than none, and one with more to it than a simpler one."""


def choose_rules(
    predictor: Predictor,
    data: Dataset,
    items: Sequence[Item],
    *,
    watch: Callable[[Iterable[Item]], Iterable[Item]] = iter,
) -> list[ComponentRule]:
    """The rule of each label with the highest mean Dice over `items`, where one is better than to leave all as it is.

    An item that has the label neither in truth nor in the answer counts 1, so that a false component costs.
    `predictor` must have no rules of its own. Raises UserError for an item that cannot be read.
    """
    labels = range(1, len(predictor.metadata.labels))
    candidates = {label: _candidates(label) for label in labels}
    scores: dict[int, list[list[float]]] = {label: [] for label in labels}
    for item in watch(items):
        sample = data.load(item)
        truth = np.asarray(sample.target)
        affine = sample.image.affine
        voxel = 1.0 if affine is None else abs(float(np.linalg.det(affine[:3, :3])))
        mask = predictor.task.prediction(predictor.predict(sample.image), predictor.metadata.labels)
        scored = truth != IGNORED
        for label in labels:
            real, found = truth == label, mask == label
            free = (mask == 0) | found
            row = []
            for rule in candidates[label]:
                kept = keep_components(found, rule, voxel=voxel) & free & scored
                both = int(kept.sum()) + int(real.sum())
                row.append(2 * int((kept & real).sum()) / both if both else 1.0)
            scores[label].append(row)
    chosen = []
    for label in labels:
        means = np.mean(scores[label], axis=0)
        best = 0
        for number, mean in enumerate(means):
            if mean > means[best] + _GAIN:
                best = number
        if best:
            chosen.append(candidates[label][best])
    return chosen


def _candidates(label: int) -> list[ComponentRule]:
    """From no rule at all to those with most to them."""
    plain = [ComponentRule(label=label), ComponentRule(label=label, largest=True)]
    plain += [ComponentRule(label=label, least_volume=volume) for volume in _VOLUMES]
    return plain + [rule.model_copy(update={"fill_holes": True}) for rule in plain]
