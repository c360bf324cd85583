"""Evaluate a pipeline of models: the test items that no member has seen, and the metrics of each judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from medzoo.artifact import ModelFolder
from medzoo.boxes import box_iou
from medzoo.data.catalog import catalog
from medzoo.data.dataset import Objects
from medzoo.data.opened import OpenData, open_data
from medzoo.data.split import SPLIT_FILE, Split, resampling_group, split_digest
from medzoo.errors import UserError
from medzoo.metrics import ClassifyScores
from medzoo.recipe import Recipe, load_recipe
from medzoo.results import Detections
from medzoo.runtime.cascade import Cascade

if TYPE_CHECKING:
    from medzoo.metrics import Metric


def unseen_data(recipe: Recipe, members: Mapping[str, ModelFolder]) -> OpenData:
    """Open the recipe's data with a test part that no member was trained or tuned on.

    Raises UserError if none is left.
    """
    data = open_data(recipe)
    seen: set[str] = set()
    for folder in members.values():
        theirs = _split_of(folder)
        seen |= {_picture(item) for item in (*theirs.train, *theirs.val)}
    test = tuple(item for item in data.split.test if _picture(item) not in seen)
    if not test:
        raise UserError(
            "every test image was used to train or tune one of the members",
            recipe.source,
            "train the members on the same split",
        )
    parts: dict[Any, tuple[str, ...]] = {"train": data.split.train, "val": data.split.val, "test": test}
    return replace(data, split=replace(data.split, test=test, digest=split_digest(parts)))


def _split_of(folder: ModelFolder) -> Split:
    if SPLIT_FILE in folder.manifest["files"]:
        return Split.read(folder.file(SPLIT_FILE))
    return open_data(load_recipe(folder.file("recipe.yaml"), catalog=catalog())).split


def _picture(item: str) -> str:
    """The image of an item, which may be one of several masses on it."""
    return item.split("#")[0]


def judge_metrics(predictor: Cascade, recipe: Recipe, data: OpenData) -> list[Metric]:
    """Metrics of each judge on the lesions that were found (IoU >= 0.5, at the operating threshold)."""
    scores: dict[str, ClassifyScores] = {}
    for item in data.part("test"):
        sample = data.data.load(item)
        assert isinstance(sample.target, Objects)
        prediction = predictor.predict(sample.image, anyway=True)
        assert isinstance(prediction, Detections)
        if not len(prediction.boxes) or not len(sample.target.boxes):
            continue
        overlap = box_iou(np.asarray(prediction.boxes, float), np.asarray(sample.target.boxes, float)).max(axis=1)
        best = int(overlap.argmax())
        if overlap[best] < 0.5:
            continue
        for role, judge in predictor.classifiers.items():
            labels = list(judge.metadata.labels)
            answered = prediction.details[best]["members"].get(judge.metadata.name)
            if answered is None or item.stratum not in labels:
                continue
            role_scores = scores.setdefault(role, ClassifyScores(_classes(labels), ("auc",), seed=recipe.train.seed))
            pair = np.array([answered[label] for label in role_scores.labels])
            role_scores.add(
                role_scores.labels.index(item.stratum),
                (pair / pair.sum()).tolist(),
                item=item.id,
                group=resampling_group(item, recipe.data.split.group),
            )
    return [
        replace(metric, name=f"{role}/{metric.name}", protocol=f"{metric.protocol}; lesions found at IoU >= 0.5")
        for role, one in scores.items()
        for metric in one.metrics()
    ]


def _classes(labels: list[str]) -> list[str]:
    """The labels that a lesion can have: "normal" is a picture without one."""
    return [label for label in labels if label != "normal"]
