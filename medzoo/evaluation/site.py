"""A model at another site: its answers to local labelled items, and what is set anew from them, out of fold."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medzoo.boxes import box_iou
from medzoo.data.dataset import Dataset, Item
from medzoo.errors import UserError
from medzoo.evaluation.guard import Watch
from medzoo.evaluation.score import protocols
from medzoo.guard.record import NEAREST, Guard, Packed, head_scores, standardised
from medzoo.metrics.calibration import (
    RULES,
    OperatingRule,
    conformal_threshold,
    operating_point,
    probability_temperature,
    tempered,
)
from medzoo.metrics.classify import expected_calibration_error
from medzoo.runtime.familiarity import embed
from medzoo.runtime.predictor import Predictor
from medzoo.types import Array

FOLDS = 5
FEWEST = 20
"""Items that a site must give."""
_COVERAGE = 0.9  # of conformal sets, where the model says no other
_SAME = 0.5  # IoU from which on a box is the object's


@dataclass
class LocalAnswers:
    """A model's predictions of local items: probabilities (N, K) and classes (N,), or scored boxes and whether they
    are objects; embeddings (N, D) of a model with a guard; and the fold of each item, which divides no group."""

    folds: Array
    truth: Array = field(default_factory=lambda: np.zeros(0, int))
    probabilities: Array | None = None
    scores: Array | None = None
    hits: Array | None = None
    objects: int = 0
    embeddings: Array | None = None


def answer_items(
    predictor: Predictor,
    data: Dataset,
    items: Sequence[Item],
    *,
    labels: Sequence[str],
    group: str,
    watch: Watch = iter,
) -> LocalAnswers:
    """Predict items labelled by `labels`, some of the model's. Raises UserError for too few of them."""
    if len(items) < FEWEST:
        raise UserError(f"{len(items)} labelled items are too few to calibrate on", hint=f"give {FEWEST} or more")
    task, metadata = predictor.task, predictor.metadata
    boxes = task.gives_boxes
    if boxes or metadata.task != "classify":
        predictor = task.for_scoring(predictor)
    truth, rows, scores, hits, embeddings = [], [], [], [], []
    objects = 0
    for item in watch(items):
        sample = data.load(item)
        options = next(iter(protocols(predictor, sample).values()))
        prepared = predictor.prepare(sample.image, anyway=True, **options)
        result = predictor.predict_prepared(prepared)
        if metadata.guard is not None and (found := embed(predictor.backend, prepared)) is not None:
            embeddings.append(found)
        if boxes:
            target: Any = sample.target
            taken = np.zeros(len(target.boxes), np.bool_)
            objects += len(taken)
            for score, hit in _matched(result, target, taken):
                scores.append(score)
                hits.append(hit)
        elif metadata.task == "classify":
            number: Any = sample.target
            truth.append(metadata.labels.index(labels[int(number)]))
            rows.append(task.prediction(result, metadata.labels))
    return LocalAnswers(
        folds=np.array([_fold(item.groups.get(group, item.id)) for item in items]),
        truth=np.array(truth, int),
        probabilities=np.array(rows, float) if rows else None,
        scores=np.array(scores, float) if boxes else None,
        hits=np.array(hits, bool) if boxes else None,
        objects=objects,
        embeddings=np.stack(embeddings) if len(embeddings) == len(items) else None,
    )


def local_probabilities(found: LocalAnswers, *, rule: str, coverage: float | None) -> dict[str, Any]:
    """Temperature, threshold of two labels, conformal sets, and the calibration error before and after, out of fold.

    Raises UserError if all items have one label.
    """
    p, truth = found.probabilities, found.truth
    assert p is not None
    if len(set(truth.tolist())) < 2:
        raise UserError("the local items are all of one label", hint="give items of at least two")
    temperature = probability_temperature(p, truth)
    apart = p.astype(float).copy()
    for fold in range(FOLDS):
        mine = found.folds == fold
        if mine.any() and not mine.all():
            apart[mine] = tempered(p[mine], probability_temperature(p[~mine], truth[~mine]))
    share = coverage or _COVERAGE
    facts: dict[str, Any] = {
        "temperature": temperature,
        "conformal": {"coverage": share, "threshold": conformal_threshold(apart, truth, coverage=share)},
        "ece_before": expected_calibration_error(truth, p),
        "ece_after": expected_calibration_error(truth, apart),
        "log_loss_before": _log_loss(p, truth),
        "log_loss_after": _log_loss(apart, truth),
    }
    if p.shape[1] == 2:
        chosen: OperatingRule = next((one for one in RULES if rule.startswith(one)), "youden")
        # On the probabilities that the file will give.
        facts["threshold"] = operating_point(tempered(p, temperature)[:, 1], truth, rule=chosen)
        facts["rule"] = chosen
    return facts


def local_score(found: LocalAnswers) -> dict[str, Any]:
    """The score at which a detector's boxes have the largest F1 at IoU 0.5, and that F1."""
    assert found.scores is not None
    assert found.hits is not None
    if not found.objects or not found.hits.any():
        raise UserError("the model finds none of the local objects, so no threshold can be chosen")
    order = np.argsort(-found.scores, kind="stable")
    right = np.cumsum(found.hits[order])
    f1 = 2 * right / (np.arange(1, len(order) + 1) + found.objects)
    best = int(np.argmax(f1))
    after = found.scores[order[best + 1]] if best + 1 < len(order) else 0.0
    return {"threshold": float((found.scores[order[best]] + after) / 2), "rule": "f1", "f1": float(f1[best])}


def guard_at_home(guard: Guard, found: LocalAnswers) -> Guard:
    """The guard that knows the local images as well: they join its reference, and each is judged by the others."""
    local = found.embeddings
    assert local is not None
    space = (guard.center.array, guard.scale.array, guard.basis.array)
    standard = standardised(local, space[0], space[1])
    inside = standard @ space[2]
    scores = head_scores(local, *space, guard.reference.array)
    for fold in range(FOLDS):
        mine = found.folds == fold
        if mine.any() and not mine.all():
            others = np.concatenate([guard.reference.array, inside[~mine]])
            scores[NEAREST][mine] = head_scores(local[mine], *space, others)[NEAREST]
    heads, columns = [], []
    for head in guard.heads:
        values = scores[head.name] if head.weights is None else standard @ head.weights.array
        mean, spread = float(values.mean()), max(float(values.std()), 0.5 * head.spread)
        heads.append(head.model_copy(update={"mean": mean, "spread": spread}))
        columns.append((values - mean) / spread)
    odd = np.sort(np.max(columns, axis=0))
    known = np.concatenate([guard.reference.array, inside])
    changes = {"reference": Packed.of(known), "heads": tuple(heads), "levels": Packed.of(odd)}
    return guard.model_copy(update={**changes, "items": guard.items + len(local)})


def _matched(result: Any, target: Any, taken: Array) -> list[tuple[float, bool]]:
    """Score of each box, best first, and whether it is an object that no better box took."""
    boxes, scores = np.asarray(result.boxes, float), np.asarray(result.scores, float)
    overlap = (
        box_iou(boxes, np.asarray(target.boxes, float)) if len(boxes) and len(taken) else np.zeros((len(boxes), 0))
    )
    found = []
    for n in np.argsort(-scores, kind="stable"):
        free = np.where(taken, 0.0, overlap[n]) if overlap.shape[1] else np.zeros(0)
        hit = bool(len(free)) and float(free.max()) >= _SAME
        if hit:
            taken[int(free.argmax())] = True
        found.append((float(scores[n]), hit))
    return found


def _log_loss(p: Array, truth: Array) -> float:
    return float(-np.log(np.maximum(p[np.arange(len(truth)), truth], 1e-12)).mean())


def _fold(name: str) -> int:
    return int(hashlib.sha256(str(name).encode()).hexdigest(), 16) % FOLDS
