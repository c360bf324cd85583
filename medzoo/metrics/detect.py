"""Metrics of a detection: COCO's average precision, FROC, CPM; where there are masks, those of outlines.

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
from medzoo.metrics.average_precision import (
    IOUS,
    MOST,
    SIZES,
    LabelMatches,
    Precision,
    RankedDetections,
    counted_objects,
    precision_measures,
    rank,
    size_ranges,
)
from medzoo.metrics.froc import RATES, DetectionPoint, Froc
from medzoo.metrics.interval import REPLICATES
from medzoo.metrics.match import Rule, match, match_coco, overlap_with_ignored
from medzoo.metrics.outlines import (
    DISTANCES,
    NAMES,
    OutlinedImage,
    are_outlined,
    outline_measures,
    outlined_image,
)
from medzoo.metrics.overlaps import Layers, MasksLike, Overlaps
from medzoo.types import Array

_IOUS = np.append(IOUS, 0.1)
_PRECISION = {
    "ap": Precision("all", range(10), "IoU 0.50:0.95"),
    "ap50": Precision("all", [0], "IoU 0.50"),
    "ap75": Precision("all", [5], "IoU 0.75"),
    "ap10": Precision("all", [10], "IoU 0.10"),
    "ap-small": Precision("small", range(10), "IoU 0.50:0.95"),
    "ap-medium": Precision("medium", range(10), "IoU 0.50:0.95"),
    "ap-large": Precision("large", range(10), "IoU 0.50:0.95"),
}
CENTRE = Rule("centre")


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
    """Plain arrays that are both `Objects` and `DetectionsLike`; `ignored`: objects beside them that do not count;
    `masks`: of objects their layers (L, *spatial), of detections what pastes them."""

    boxes: Array
    labels: Array
    scores: Array
    ignored: IgnoredLike | None = None
    masks: Layers | MasksLike | Overlaps | None = None


@dataclass(frozen=True, eq=False)
class _BoxMatches(LabelMatches):
    """One image's detections of one label, at most 100. `status` and `centre`: hit, false or neither, by the
    accumulator's rule and by centres inside objects."""

    status: Array
    centre: Array


class DetectScores(Accumulator):
    """Scores of a detection, matched label by label.

    COCO's rules for `ap...` (at most 100 detections a label and image, IoU over continuous boxes, 101
    recalls); `rule` for FROC, CPM and the metrics at `threshold` (score >= threshold is shown; None: all);
    `froc-centre` and `cpm-centre` are the same by centres inside objects, whatever `rule` says.
    Sizes small, medium, large part at box areas of 32^2 and 96^2 pixels (COCO), box volumes of 10^3 and
    20^3 cubic millimetres. `mask-...`, panoptic quality and aggregated Jaccard score outlines
    (medzoo.metrics.outlines): where they are named, truth and predictions must have masks; by default they are made
    where both do.
    """

    known = (
        "ap", "ap50", "froc", "cpm", "ap75", "ap10", "ap-small", "ap-medium", "ap-large",
        "sensitivity", "false-positives", "froc-centre", "cpm-centre", *NAMES,
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
        self._images: list[list[_BoxMatches]] = []
        self._outlined: list[OutlinedImage] = []
        self._must_outline = names is not None
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
        """Match one image. `spacing`: mm along the axes, for the size ranges of volumes and for distances.

        What `truth.ignored` (an `IgnoredLike`, or None) holds counts neither as found nor as missed, and a detection
        that hits nothing else and lies on it is no false positive (VOC devkit; COCO's iscrowd). Metrics of outlines
        take `truth.masks`, layers or what reads them (medzoo.data.instances), and `prediction.masks`. Raises UserError
        if an earlier image had another number of axes, or masks are missing or of another grid.
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
        ranges = size_ranges(dims)
        rows = []
        beside: IgnoredLike | None = getattr(truth, "ignored", None)
        for label in range(len(self.labels)):
            objects, mine = there[labels == label], guesses == label
            best = np.argsort(-scores[mine], kind="stable")[:MOST]
            boxes = found[mine][best]
            hit, ignored = match_coco(objects, boxes, thresholds=_IOUS, ranges=ranges, unit=unit)
            sizes = np.prod(objects[:, dims:] - objects[:, :dims], axis=1) * unit
            status, centre = (match(objects, boxes, rule=rule) for rule in (self.rule, CENTRE))
            if beside is not None and len(beside.boxes):
                uncounted = np.asarray(beside.boxes, float).reshape(-1, 2 * dims)[np.asarray(beside.labels) == label]
                overlap = overlap_with_ignored(boxes, uncounted, crowd=beside.crowd)
                ignored |= ~hit & (overlap >= _IOUS[:, None])
                inside = overlap_with_ignored(boxes, uncounted, crowd=beside.crowd, centre=True) > 0
                excluded = inside if self.rule.name == "centre" else overlap >= self.rule.threshold
                status = np.where((status == 0) & excluded, -1, status)
                centre = np.where((centre == 0) & inside, -1, centre)
            counted = counted_objects(sizes, ranges)
            rows.append(_BoxMatches(scores[mine][best], hit, ignored, counted, status, centre))
        masks = getattr(truth, "masks", None), getattr(prediction, "masks", None)
        names = [name for name in self.names if name in NAMES]
        outlined = None
        if names and are_outlined(masks, len(there), len(found), item, needs=names[0] if self._must_outline else None):
            outlined = outlined_image(
                Boxes(there, labels, np.empty(0), beside),
                Boxes(found, guesses, scores),
                masks,
                rule=self.rule,
                distances=not DISTANCES.isdisjoint(names),
                spacing=spacing,
                item=item,
            )
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
        if outlined is not None:
            self._outlined.append(outlined)
            self._records[-1]["masks"] = outlined.overlaps.to_record()

    def records(self) -> list[dict[str, Any]]:
        """`item`, `group`, `spacing`, `objects` (boxes, labels) and `found` (boxes, labels, scores); where
        there are objects that do not count, `ignored` (boxes, labels, crowd), and where outlines were scored,
        `masks` (medzoo.metrics.overlaps)."""
        return list(self._records)

    def restore(self, record: Mapping[str, Any]) -> None:
        """Add an image from its record."""
        there, found, beside = record["objects"], record["found"], record.get("ignored")
        masks = None if record.get("masks") is None else Overlaps.from_record(record["masks"])
        ignored = None
        if beside is not None:
            ignored = _Ignored(np.array(beside["boxes"]), np.array(beside["labels"]), bool(beside["crowd"]))
        self.add(
            Boxes(np.array(there["boxes"]), np.array(there["labels"]), np.empty(0), ignored, masks),
            Boxes(np.array(found["boxes"]), np.array(found["labels"]), np.array(found["scores"]), masks=masks),
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
        return rank([rows[label] for rows in self._images], size=SIZES.index(size), columns=range(10))

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
        wanted = {name: _PRECISION[name] for name in self.names if name in _PRECISION}
        made = precision_measures(self._images, self.labels, wanted, dims=self.dims or 2) + self._free_response()
        names = [name for name in self.names if name in NAMES]
        if names and len(self._outlined) == len(self._images):
            made += outline_measures(
                self._outlined, self.labels, names, dims=self.dims or 2, threshold=self.threshold, rule=self.rule
            )
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
