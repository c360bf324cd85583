"""`medzoo next`: order unlabelled images by what labelling them would teach the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.data.audit.groups import near_duplicate_groups
from medzoo.errors import UserError
from medzoo.guard.record import Guard, standardised
from medzoo.io.formats import is_image_file
from medzoo.loading.load import load
from medzoo.results import Classification, Detections, Result
from medzoo.runtime.familiarity import embed
from medzoo.runtime.predictor import Predictor
from medzoo.types import Array

COUNT = 20


@dataclass(frozen=True)
class Candidate:
    """An image in the order: how unsure the model is of it (0 to 1), how far it lies from what is known and from those
    before it (1: as far as the farthest), and its group."""

    input: str
    unsure: float
    distance: float
    group: str

    def to_dict(self) -> dict[str, Any]:
        """An entry of `next --json`."""
        found = {"input": self.input, "unsure": round(self.unsure, 4), "distance": round(self.distance, 4)}
        return {**found, "group": self.group}


@dataclass(frozen=True)
class Order:
    """The images to label first, best first, and those that could not be read with the reason."""

    model: str
    candidates: tuple[Candidate, ...]
    failed: tuple[tuple[str, str], ...]


def next_to_label(
    model: str | Path,
    unlabelled: Sequence[str | Path],
    *,
    count: int = COUNT,
    watch: Callable[[Iterable[Path]], Iterable[Path]] = iter,
) -> Order:
    """Order images, or those of folders: unsure ones first, spread over the model's own embedding and over groups.

    The first is the best product of uncertainty and distance to the training images; each further one counts its
    distance to those chosen before it as well (k-centre greedy: Sener and Savarese, ICLR 2018), and a near-duplicate of
    one of them comes last. Raises UserError for a model without a guard, whose embedding this needs, and where no image
    can be read.
    """
    paths = list(_files(unlabelled))
    predictor = load(model, backend="onnx")
    if not isinstance(predictor, Predictor) or predictor.metadata.guard is None:
        raise UserError(
            "has no guard, whose embedding tells how images lie", str(model), "medzoo guard MODEL -o FOLDER"
        )
    guard = predictor.metadata.guard
    rows: list[Array] = []
    unsure: list[float] = []
    kept: list[Path] = []
    failed: list[tuple[str, str]] = []
    for path in watch(paths):
        try:
            prepared = predictor.prepare(str(path))
            result = predictor.predict_prepared(prepared)
            embedding = embed(predictor.backend, prepared)
        except UserError as error:
            failed.append((str(path), str(error.faults[0].message)))
            continue
        if embedding is None:
            failed.append((str(path), "there is nothing in it to see"))
            continue
        rows.append(_place(guard, embedding))
        unsure.append(uncertainty(result))
        kept.append(path)
    if not kept:
        raise UserError(f"none of {len(paths)} images could be read: {failed[0][1]}", failed[0][0])
    groups = near_duplicate_groups({str(path): path for path in kept})
    names = [groups[str(path)] for path in kept]
    order, away = spread_order(np.stack(rows), np.array(unsure), names, known=guard.reference.array, count=count)
    chosen = [Candidate(str(kept[k]), unsure[k], d, names[k]) for k, d in zip(order, away, strict=True)]
    return Order(predictor.metadata.name, tuple(chosen), tuple(failed))


def uncertainty(result: Result) -> float:
    """Return the uncertainty of a result, 0 to 1.

    Of classes the entropy; of boxes the mean nearness of the best ten scores to one half, and 1 where the best is as
    unsure as can be; of others one half, so that distance decides.
    """
    if isinstance(result, Classification):
        p = np.clip(np.array(list(result.probabilities.values())), 1e-12, 1)
        return float(-(p * np.log(p)).sum() / np.log(max(2, len(p))))
    if isinstance(result, Detections):
        best = np.sort(np.asarray(result.scores, float))[::-1][:10]
        return float((1 - np.abs(2 * best - 1)).mean()) if len(best) else 0.5
    return 0.5


def spread_order(
    rows: Array, unsure: Array, groups: Sequence[str], *, known: Array, count: int
) -> tuple[list[int], list[float]]:
    """Places of `rows` (N, K), best first, and the share of the largest distance at which each was chosen.

    `unsure` (N,); `known` (M, K): what was learnt from already. One of a group that was chosen already comes last.
    """
    from scipy.stats import rankdata

    nearest = _distances(rows, known).min(axis=1) if len(known) else np.ones(len(rows))
    whole = float(nearest.max()) or 1.0
    # Ranks, not values: nobody knows how one unit of entropy compares with one of distance.
    rank = (rankdata(unsure) + 1) / (len(unsure) + 1)
    taken: set[str] = set()
    order: list[int] = []
    away: list[float] = []
    left = np.ones(len(rows), bool)
    for _ in range(min(count, len(rows))):
        fresh = left & np.array([group not in taken for group in groups])
        able = fresh if fresh.any() else left
        score = np.where(able, rank * nearest, -np.inf)
        k = int(score.argmax())
        order.append(k)
        away.append(float(nearest[k]) / whole)
        taken.add(groups[k])
        left[k] = False
        nearest = np.minimum(nearest, _distances(rows, rows[k : k + 1])[:, 0])
    return order, away


def _place(guard: Guard, embedding: Array) -> Array:
    """An embedding (D,) in the space of the guard's distances."""
    row = np.asarray(embedding, np.float32).reshape(-1)[: guard.width]
    placed: Array = (standardised(row[None], guard.center.array, guard.scale.array) @ guard.basis.array)[0]
    return placed


def _distances(rows: Array, others: Array) -> Array:
    """Euclidean distances (N, M)."""
    squares = (rows**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * rows @ others.T
    result: Array = np.sqrt(np.maximum(squares, 0))
    return result


def _files(given: Sequence[str | Path]) -> Iterable[Path]:
    from medzoo.data.file_names import is_hidden

    for one in given:
        path = Path(one)
        if path.is_dir():
            found = [p for p in sorted(path.rglob("*")) if is_image_file(p) and not is_hidden(p, root=path)]
            if not found:
                raise UserError("holds no images", str(path))
            yield from found
        elif path.is_file():
            yield path
        else:
            raise UserError("no such file or folder", str(path))
