"""Metrics of a detection: COCO's average precision, FROC, CPM. Knows boxes, scores and labels alone.

Each image is matched once, when it is added; the bootstrap only weighs images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Protocol

import numpy as np

from medzoo.errors import UserError
from medzoo.metrics.accumulator import Accumulator, Measure
from medzoo.metrics.average_precision import IOUS, RankedDetections
from medzoo.metrics.froc import RATES, DetectionPoint, Froc
from medzoo.metrics.interval import REPLICATES, defined_mean
from medzoo.metrics.match import Rule, match, match_coco, overlap_with_ignored
from medzoo.types import Array

MOST = 100
_IOUS = np.append(IOUS, 0.1)
# Metric -> (size range, columns of _IOUS, words).
_PRECISION: dict[str, tuple[str, list[int], str]] = {
    "ap": ("all", list(range(10)), "IoU 0.50:0.95"),
    "ap50": ("all", [0], "IoU 0.50"),
    "ap75": ("all", [5], "IoU 0.75"),
    "ap10": ("all", [10], "IoU 0.10"),
    "ap-small": ("small", list(range(10)), "IoU 0.50:0.95"),
    "ap-medium": ("medium", list(range(10)), "IoU 0.50:0.95"),
    "ap-large": ("large", list(range(10)), "IoU 0.50:0.95"),
}
CENTRE = Rule("centre")
_SIZES = ("all", "small", "medium", "large")
# Edges between small, medium and large: COCO's side lengths in pixels; in volumes a cube's side in mm.
_EDGES = {2: (32.0, 96.0, "px"), 3: (10.0, 20.0, "mm")}


class Objects(Protocol):
    """The true objects: `boxes` (N, 2n), lows then highs, n = 2 or 3; `labels` (N,), indices into the labels."""

    @property
    def boxes(self) -> Array: ...
    @property
    def labels(self) -> Array: ...


class IgnoredLike(Protocol):
    """Objects that are neither found nor missed (VOC's difficult ones, COCO's crowds): `boxes` (M, 2n), `labels` (M,),
    and whether each is a `crowd`, in which a detection need only lie."""

    @property
    def boxes(self) -> Array: ...
    @property
    def labels(self) -> Array: ...
    @property
    def crowd(self) -> bool: ...


@dataclass(frozen=True, eq=False)
class _Ignored:
    """An `IgnoredLike` from a record."""

    boxes: Array
    labels: Array
    crowd: bool


class DetectionsLike(Objects, Protocol):
    """The detections: boxes and labels as in `Objects`, and `scores` (N,)."""

    @property
    def scores(self) -> Array: ...


@dataclass(frozen=True, eq=False)
class Boxes:
    """Plain arrays that are both `Objects` and `DetectionsLike`; `ignored`: objects beside them that do not count."""

    boxes: Array
    labels: Array
    scores: Array
    ignored: IgnoredLike | None = None


@dataclass(frozen=True, eq=False)
class _LabelMatches:
    """One image's detections of one label, best first, at most 100; `objects` (A,) that count, by size.

    `status` and `centre`: hit, false or neither, by the accumulator's rule and by centres inside objects.
    """

    scores: Array
    hit: Array
    ignored: Array
    status: Array
    centre: Array
    objects: Array


class DetectScores(Accumulator):
    """Scores of a detection, matched label by label.

    COCO's rules for `ap...` (at most 100 detections a label and image, IoU over continuous boxes, 101
    recalls); `rule` for FROC, CPM and the metrics at `threshold` (score >= threshold is shown; None: all);
    `froc-centre` and `cpm-centre` are the same by centres inside objects, whatever `rule` says.
    Sizes small, medium, large part at box areas of 32^2 and 96^2 pixels (COCO), box volumes of 10^3 and
    20^3 cubic millimetres.
    """

    known = (
        "ap", "ap50", "froc", "cpm", "ap75", "ap10", "ap-small", "ap-medium", "ap-large",
        "sensitivity", "false-positives", "froc-centre", "cpm-centre",
    )  # fmt: skip

    def __init__(
        self,
        labels: Sequence[str],
        names: Sequence[str] | None = None,
        *,
        rule: Rule | None = None,
        threshold: float | None = None,
        seed: int = 0,
        replicates: int = REPLICATES,
    ) -> None:
        super().__init__(labels, names, seed=seed, replicates=replicates)
        self.rule = rule or Rule()
        self.threshold = threshold
        self.dims = 0
        self._images: list[list[_LabelMatches]] = []
        self._records: list[dict[str, Any]] = []

    def add(
        self,
        truth: Objects,
        prediction: DetectionsLike,
        *,
        item: str,
        group: str | None = None,
        spacing: Sequence[float] | None = None,
    ) -> None:
        """Match one image. `spacing`: mm along the axes of a volume, for its size ranges.

        What `truth.ignored` (an `IgnoredLike`, or None) holds counts neither as found nor as missed, and a detection
        that hits nothing else and lies on it is no false positive (VOC devkit; COCO's iscrowd). Raises UserError if an
        earlier image had another number of axes.
        """
        there, found = np.asarray(truth.boxes, float), np.asarray(prediction.boxes, float)
        dims = max(there.shape[-1] if there.size else 0, found.shape[-1] if found.size else 0) // 2
        if dims and self.dims not in (0, dims):
            raise UserError(f"has boxes of {dims} axes, earlier items boxes of {self.dims}", item)
        self.dims = dims or self.dims
        dims = dims or 2
        there, found = there.reshape(-1, 2 * dims), found.reshape(-1, 2 * dims)
        labels, guesses = np.asarray(truth.labels, np.int64), np.asarray(prediction.labels, np.int64)
        scores = np.asarray(prediction.scores, float)
        unit = float(np.prod(spacing)) if dims == 3 and spacing is not None else 1.0
        low, high, _ = _EDGES[dims]
        edges = np.array([[0, np.inf], [0, low**dims], [low**dims, high**dims], [high**dims, np.inf]])
        rows = []
        beside: IgnoredLike | None = getattr(truth, "ignored", None)
        for label in range(len(self.labels)):
            objects, mine = there[labels == label], guesses == label
            best = np.argsort(-scores[mine], kind="stable")[:MOST]
            boxes = found[mine][best]
            hit, ignored = match_coco(objects, boxes, thresholds=_IOUS, ranges=edges, unit=unit)
            sizes = np.prod(objects[:, dims:] - objects[:, :dims], axis=1) * unit
            counted = (sizes >= edges[:, :1]) & (sizes <= edges[:, 1:])
            status, centre = (match(objects, boxes, rule=rule) for rule in (self.rule, CENTRE))
            if beside is not None and len(beside.boxes):
                uncounted = np.asarray(beside.boxes, float).reshape(-1, 2 * dims)[np.asarray(beside.labels) == label]
                overlap = overlap_with_ignored(boxes, uncounted, crowd=beside.crowd)
                ignored |= ~hit & (overlap >= _IOUS[:, None])
                inside = overlap_with_ignored(boxes, uncounted, crowd=beside.crowd, centre=True) > 0
                spared = inside if self.rule.name == "centre" else overlap >= self.rule.threshold
                status = np.where((status == 0) & spared, -1, status)
                centre = np.where((centre == 0) & inside, -1, centre)
            rows.append(_LabelMatches(scores[mine][best], hit, ignored, status, centre, counted.sum(axis=1)))
        self._register(item, group)
        self._images.append(rows)
        self._records.append(
            {
                "item": item,
                "group": group,
                "spacing": None if spacing is None else [float(s) for s in spacing],
                "objects": {"boxes": there.tolist(), "labels": labels.tolist()},
                "found": {"boxes": found.tolist(), "labels": guesses.tolist(), "scores": scores.tolist()},
            }
        )
        if beside is not None and len(beside.boxes):
            self._records[-1]["ignored"] = {
                "boxes": np.asarray(beside.boxes, float).tolist(),
                "labels": np.asarray(beside.labels).tolist(),
                "crowd": beside.crowd,
            }

    def records(self) -> list[dict[str, Any]]:
        """`item`, `group`, `spacing`, `objects` (boxes, labels) and `found` (boxes, labels, scores); where
        there are objects that do not count, `ignored` (boxes, labels, crowd)."""
        return list(self._records)

    def restore(self, record: Mapping[str, Any]) -> None:
        """Add an image from its record."""
        there, found, beside = record["objects"], record["found"], record.get("ignored")
        ignored = None
        if beside is not None:
            ignored = _Ignored(np.array(beside["boxes"]), np.array(beside["labels"]), bool(beside["crowd"]))
        self.add(
            Boxes(np.array(there["boxes"]), np.array(there["labels"]), np.empty(0), ignored),
            Boxes(np.array(found["boxes"]), np.array(found["labels"]), np.array(found["scores"])),
            item=record["item"],
            group=record["group"],
            spacing=record["spacing"],
        )

    def errors(self) -> list[tuple[float, str]]:
        """Objects missed and false boxes at the operating threshold; among equals, the surer false boxes are worse."""
        least = -np.inf if self.threshold is None else self.threshold
        found = []
        for rows in self._images:
            shown = [row.scores >= least for row in rows]
            objects = sum(int(row.objects[0]) for row in rows)
            hits = sum(int((row.status[s] == 1).sum()) for row, s in zip(rows, shown, strict=True))
            false = np.concatenate([row.scores[s & (row.status == 0)] for row, s in zip(rows, shown, strict=True)])
            worst = objects - hits + len(false) + float(false.max(initial=0)) / 2
            words = f"{hits} of {objects} found" if objects else "nothing there"
            found.append((worst, f"{words}, {len(false)} false"))
        return found

    def ranked(self, label: int, *, size: str = "all") -> RankedDetections:
        """Detections of one label over all images, best first, at the ten IoU thresholds 0.50:0.95."""
        return self._ranked(label, _SIZES.index(size), range(10))

    def _ranked(self, label: int, size: int, columns: Sequence[int]) -> RankedDetections:
        rows, picks = [rows[label] for rows in self._images], np.asarray(columns)
        scores, image = self._joined([row.scores for row in rows])
        order = np.argsort(-scores, kind="stable")
        hit = np.concatenate([row.hit[size, picks] for row in rows], axis=1)[:, order]
        ignored = np.concatenate([row.ignored[size, picks] for row in rows], axis=1)[:, order]
        return RankedDetections(image[order], hit, ignored, np.array([row.objects[size] for row in rows]))

    def froc(self, *, centre: bool = False) -> Froc:
        """The free-response ROC of all labels together, each matched to its own, by `rule` or by centres."""
        rows = [row for image in self._images for row in image]
        scores, index = self._joined([row.scores for row in rows])
        objects = np.array([sum(int(row.objects[0]) for row in image) for image in self._images])
        status = np.concatenate([row.centre if centre else row.status for row in rows])
        return Froc(scores, status, index // len(self.labels), objects)

    def threshold_at(self, rate: float) -> DetectionPoint:
        """The lowest threshold with at most `rate` false positives an image, on validation data."""
        return self.froc().threshold_at(rate)

    def best_f1(self) -> DetectionPoint:
        """The threshold of the best F1, on validation data."""
        return self.froc().best_f1()

    def measures(self) -> list[Measure]:
        """The statistics of `names`: precision over all labels and, as name/label, of each; froc/RATE."""
        made: list[Measure] = []
        for size, sides in enumerate(_SIZES):
            made += self._precisions(size, [n for n in self.names if _PRECISION.get(n, ("",))[0] == sides])
        return made + self._free_response()

    def _precisions(self, size: int, names: Sequence[str]) -> list[Measure]:
        """The metrics of one size range, which share one matching table."""
        if not names:
            return []
        low, high, unit = _EDGES[self.dims or 2]
        sides = ("", f"below {low:g}", f"{low:g} to {high:g}", f"above {high:g}")[size]
        columns = sorted({column for name in names for column in _PRECISION[name][1]})
        tables = [self._ranked(k, size, columns) for k in range(len(self.labels))]
        # A label without an object has no precision and no part in the mean, as in COCO.
        shown = [k for k, table in enumerate(tables) if table.objects.any()]
        over = ", ".join(self.labels[k] for k in shown) or "no label"
        width = max(len(table.image) for table in tables)

        def source(weights: Array) -> Array:
            """(R, labels, T), NaN for a label that no drawn image holds."""
            return np.stack([table.average_precision(weights) for table in tables], axis=1)

        made = []
        for name in names:
            mine = [columns.index(column) for column in _PRECISION[name][1]]
            words = f"COCO average precision, {_PRECISION[name][2]}, 101 recalls, {MOST} detections"
            words += f", boxes of side {sides} {unit}" if sides else ""

            def everything(table: Array, mine: list[int] = mine) -> Array:
                return defined_mean(table[:, :, mine].mean(axis=2))

            made.append(Measure(name, f"{words}, mean over {over}", source, everything, width=width))
            for k in shown if len(self.labels) > 1 else ():

                def one(table: Array, mine: list[int] = mine, k: int = k) -> Array:
                    mean: Array = table[:, k, mine].mean(axis=1)
                    return mean

                title = f"{name}/{self.labels[k]}"
                made.append(Measure(title, f"{words}, of {self.labels[k]}", source, one, width=width))
        return made

    def _free_response(self) -> list[Measure]:
        """FROC, CPM, and what the operating threshold gives."""
        froc = self.froc()
        width = len(froc.image)
        made = self._over_rates(froc, "", self.rule)
        if {"froc-centre", "cpm-centre"} & set(self.names):
            made += self._over_rates(self.froc(centre=True), "-centre", CENTRE)

        def at_threshold(weights: Array) -> Array:
            return froc.at(weights, threshold=self.threshold)

        where = "all detections" if self.threshold is None else f"score >= {self.threshold:g}"
        for i, (name, what) in enumerate(
            (("sensitivity", "share of the objects found"), ("false-positives", "false positives an image"))
        ):
            if name in self.names:
                protocol = f"{what}, {where}, matched by {self.rule}"
                made.append(Measure(name, protocol, at_threshold, itemgetter((..., i)), width=width))
        return made

    def _over_rates(self, froc: Froc, suffix: str, rule: Rule) -> list[Measure]:
        """FROC and CPM by one rule, if their names are wanted."""
        made, width = [], len(froc.image)
        words = f"matched by {rule}, all labels together, highest sensitivity at or below the rate"

        def rates(weights: Array) -> Array:
            return froc.sensitivities(weights)

        if f"froc{suffix}" in self.names:
            for i, rate in enumerate(RATES):
                protocol = f"sensitivity at {rate:g} false positives an image, {words}"
                made.append(Measure(f"froc{suffix}/{rate:g}", protocol, rates, itemgetter((..., i)), width=width))
        if f"cpm{suffix}" in self.names:
            protocol = f"mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4, 8 false positives an image, {words}"
            made.append(Measure(f"cpm{suffix}", protocol, rates, lambda table: table.mean(axis=1), width=width))
        return made

    def _joined(self, scores: Sequence[Array]) -> tuple[Array, Array]:
        """All scores (D,), and the position in the list (D,) that each came from."""
        return np.concatenate(scores), np.repeat(np.arange(len(scores)), [len(s) for s in scores])
