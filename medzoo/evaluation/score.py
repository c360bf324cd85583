"""Score a Predictor on the items of a dataset, under every protocol that they offer; needs no torch.

A model that measures masses is scored twice on data that come with outlines: **machine outline**, where it must
find the mass itself, and **expert outline**, where it is given what the expert drew. Beside each stands the
size-only baseline, which ranks the same masses by their diameter alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from medzoo.data.dataset import Dataset, Item, Objects, Sample
from medzoo.data.opened import OpenData
from medzoo.data.split import resampling_group
from medzoo.errors import UserError
from medzoo.metrics import ClassifyScores, Scope, Scores
from medzoo.preprocess.extras import mass
from medzoo.recipe import Recipe
from medzoo.runtime.backends import Backend
from medzoo.runtime.predictor import Predictor
from medzoo.task import task_of
from medzoo.types import IGNORED

MACHINE, EXPERT = "machine-outline", "expert-outline"
_RANKED = ("auc", "sensitivity-at-specificity-90")  # metrics that a bare ranking, such as by size, has


def protocols(predictor: Predictor, sample: Sample) -> Mapping[str, Mapping[str, Any]]:
    """Evaluation protocols of a sample: name to the options of `Predictor.prepare`."""
    if any(step.outlines_only for step in predictor.steps):
        return {EXPERT: {}}
    if predictor.accepts_outline:
        return {MACHINE: {}} if sample.mask is None else {MACHINE: {}, EXPERT: {"mask": sample.mask}}
    return {"": {}}


def evaluate(
    predictor: Predictor,
    data: Dataset,
    items: Sequence[Item],
    *,
    metrics: Sequence[str],
    group: str,
    seed: int = 0,
    split: str = "test",
    split_digest: str = "",
    watch: Callable[[Iterable[Item]], Iterable[Item]] = iter,
) -> Scores:
    """Score every item under every protocol. `group`: the key of Item.groups that intervals resample by.

    `split` and `split_digest` say in the scores which part of what split the items are. `watch` may wrap the
    items to show progress. Detections below the operating threshold count where every threshold does (precision,
    FROC). Raises UserError for an item that cannot be read.
    """
    predictor = copy.copy(predictor)
    predictor.anyway = True  # an item that the guard would refuse has its share in the metrics
    metadata = predictor.metadata
    point = metadata.operating_point
    threshold = point.threshold if point else None
    task, scored = predictor.task, predictor.task.for_scoring(predictor)
    if scored is not predictor:
        threshold, predictor = predictor.threshold, scored
    scope = Scope(
        model=metadata.name,
        task=metadata.task,
        labels=tuple(metadata.labels),
        metrics=tuple(metrics),
        threshold=threshold,
        seed=seed,
        group=group,
        split=split,
        split_digest=split_digest,
        conformal=(sets.threshold, sets.coverage) if (sets := metadata.conformal) else None,
    )
    scores = Scores(scope)
    outlines_only = any(step.outlines_only for step in predictor.steps)
    for item in watch(items):
        sample = data.load(item)
        scores.facts[item.id] = sample_facts(sample)
        spacing = sample.image.meta.get("spacing_mm") if sample.image.affine is None else sample.image.spacing
        where: dict[str, Any] = {"item": item.id, "group": resampling_group(item, group), "spacing": spacing}
        for protocol, options in protocols(predictor, sample).items():
            prepared = predictor.prepare(sample.image, **options)
            result = predictor.predict_prepared(prepared)
            mine = scores.accumulator_of(protocol)
            mine.add(sample.target, task.prediction(result, metadata.labels), **where)
            measured = mass(prepared.extras)
            if measured is not None and len(metadata.labels) == 2:
                if protocol not in scores.by_size:
                    names = [name for name in _RANKED if name in mine.names]
                    scores.by_size[protocol] = ClassifyScores(metadata.labels, names, seed=seed)
                # Any rising function of the size ranks as the size does.
                rank = measured.size / (1 + measured.size)
                scores.by_size[protocol].add(sample.target, [1 - rank, rank], **where)
                if outlines_only:  # the outline is all there is, in millimetres
                    scores.facts[item.id].pop("diameter_px", None)
                    scores.facts[item.id]["diameter_mm"] = round(float(measured.size), 2)
    if not scores.protocols:
        scores.accumulator_of("")
    return scores


def sample_facts(sample: Sample) -> dict[str, str | float]:
    """A sample's facts beside its label, for metrics by subgroup: its class, the words that its dataset gives
    (a source, a scanner), and the size of what is to be found."""
    facts: dict[str, str | float] = {k: v for k, v in sample.item.facts.items() if isinstance(v, str)}
    if sample.item.stratum:
        facts["class"] = sample.item.stratum
    target, affine = sample.target, sample.image.affine
    if isinstance(target, Objects):
        boxes = np.asarray(target.boxes, float)
        if len(boxes):
            axes = boxes.shape[1] // 2
            unit = abs(float(np.linalg.det(affine[:3, :3]))) if affine is not None else 1.0
            size = float(np.prod(boxes[:, axes:] - boxes[:, :axes], axis=1).max()) * unit
            facts["side_px" if affine is None else "side_mm"] = round(size ** (1 / axes), 2)
        return facts
    region = sample.mask if isinstance(target, int | np.integer) else target
    inside = int(np.count_nonzero((region != 0) & (region != IGNORED))) if region is not None else 0
    if inside and affine is not None:
        facts["volume_ml"] = round(inside * abs(float(np.linalg.det(affine[:3, :3]))) / 1000, 3)
    elif inside:
        facts["diameter_px"] = round(2 * float(np.sqrt(inside / np.pi)), 2)
    return facts


def subsample(items: Sequence[Item], count: int) -> list[Item]:
    """At most `count` items, spread evenly over them all."""
    if len(items) <= count:
        return list(items)
    return [items[int(index)] for index in np.linspace(0, len(items) - 1, count).round()]


def primary_metric(backend: Backend, recipe: Recipe, data: OpenData, items: Sequence[Item]) -> tuple[str, float]:
    """Name and value of the task's own metric on `items`. Raises UserError where it is not defined on them."""
    wanted = task_of(recipe.task).primary_metric
    group = recipe.data.split.group
    metrics = evaluate(Predictor(backend), data.data, items, metrics=[wanted], group=group).metrics()
    found = next((f for f in metrics if f.name.split("/")[-1] == wanted and f.value is not None), None)
    if found is None or found.value is None:
        raise UserError(f"{wanted} is not defined on the {len(items)} validation items", where=recipe.source)
    return found.name, found.value
