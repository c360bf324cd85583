"""Average precision as COCO defines it, for many weightings of the images at once. Knows neither boxes nor masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medzoo.metrics.accumulator import Measure
from medzoo.metrics.interval import defined_mean, ratio
from medzoo.types import Array

# COCO's thresholds of recall and of IoU, with the very floats that its reference code makes.
RECALLS = np.linspace(0.0, 1.0, 101)
IOUS = np.linspace(0.5, 0.95, 10)
MOST = 100
SIZES = ("all", "small", "medium", "large")
# Edges between small, medium and large: COCO's side lengths in pixels; in volumes a cube's side in mm.
_EDGES = {2: (32.0, 96.0, "px"), 3: (10.0, 20.0, "mm")}


@dataclass(frozen=True)
class Precision:
    """One metric of precision: the size range of its objects, its columns among the IoU thresholds that were matched,
    their words, and how many detections a label and image count at most."""

    size: str
    columns: Sequence[int]
    words: str
    most: int = MOST


@dataclass(frozen=True, eq=False)
class LabelMatches:
    """One image's detections (D,) of one label, best first: hit and ignored (A, T, D) in A size ranges at T thresholds;
    `objects` (A,) that count."""

    scores: Array
    hit: Array
    ignored: Array
    objects: Array


def size_ranges(dims: int) -> Array:
    """(A, 2) smallest and largest size of SIZES: areas in pixels of pictures, cubic millimetres in volumes."""
    low, high, _ = _EDGES[dims]
    return np.array([[0, np.inf], [0, low**dims], [low**dims, high**dims], [high**dims, np.inf]])


def counted_objects(sizes: Array, ranges: Array) -> Array:
    """(A,) how many objects of `sizes` (N,) lie in each range."""
    inside: Array = ((sizes >= ranges[:, :1]) & (sizes <= ranges[:, 1:])).sum(axis=1)
    return inside


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


def rank(rows: Sequence[LabelMatches], *, size: int, columns: Sequence[int], most: int = MOST) -> RankedDetections:
    """Detections of one label over all images, best first; `rows`: one an image, of each at most `most`."""
    picks = np.asarray(columns)
    scores = np.concatenate([row.scores[:most] for row in rows])
    image = np.repeat(np.arange(len(rows)), [len(row.scores[:most]) for row in rows])
    order = np.argsort(-scores, kind="stable")
    hit = np.concatenate([row.hit[size, picks, :most] for row in rows], axis=1)[:, order]
    ignored = np.concatenate([row.ignored[size, picks, :most] for row in rows], axis=1)[:, order]
    return RankedDetections(image[order], hit, ignored, np.array([row.objects[size] for row in rows]))


def precision_measures(
    images: Sequence[Sequence[LabelMatches]],
    labels: Sequence[str],
    metrics: Mapping[str, Precision],
    *,
    dims: int,
    of: str = "boxes",
) -> list[Measure]:
    """The statistics of `metrics` over all labels and, as name/label, of each; `images`: a row a label of each."""
    made: list[Measure] = []
    for size, most in dict.fromkeys((metric.size, metric.most) for metric in metrics.values()):
        mine = {name: m for name, m in metrics.items() if (m.size, m.most) == (size, most)}
        made += _alike(images, labels, mine, dims=dims, of=of)
    return made


def _alike(
    images: Sequence[Sequence[LabelMatches]],
    labels: Sequence[str],
    metrics: Mapping[str, Precision],
    *,
    dims: int,
    of: str,
) -> list[Measure]:
    """The metrics of one size range and one number of detections, which share one matching table."""
    size, most = next((SIZES.index(m.size), m.most) for m in metrics.values())
    low, high, unit = _EDGES[dims]
    sides = ("", f"below {low:g}", f"{low:g} to {high:g}", f"above {high:g}")[size]
    columns = sorted({column for metric in metrics.values() for column in metric.columns})
    tables = [rank([image[k] for image in images], size=size, columns=columns, most=most) for k in range(len(labels))]
    # A label without an object has no precision and no part in the mean, as in COCO.
    shown = [k for k, table in enumerate(tables) if table.objects.any()]
    over = ", ".join(labels[k] for k in shown) or "no label"
    width = max(len(table.image) for table in tables)

    def source(weights: Array) -> Array:
        """(R, labels, T), NaN for a label that no drawn image holds."""
        return np.stack([table.average_precision(weights) for table in tables], axis=1)

    made = []
    for name, metric in metrics.items():
        mine = [columns.index(column) for column in metric.columns]
        words = f"COCO average precision, {metric.words}, 101 recalls, {most} detections"
        words += f", {of} of side {sides} {unit}" if sides else ""

        def everything(table: Array, mine: list[int] = mine) -> Array:
            return defined_mean(table[:, :, mine].mean(axis=2))

        made.append(Measure(name, f"{words}, mean over {over}", source, everything, width=width))
        for k in shown if len(labels) > 1 else ():

            def one(table: Array, mine: list[int] = mine, k: int = k) -> Array:
                mean: Array = table[:, k, mine].mean(axis=1)
                return mean

            title = f"{name}/{labels[k]}"
            made.append(Measure(title, f"{words}, of {labels[k]}", source, one, width=width))
    return made
