"""Metrics of the outlines of detections: mask AP, Dice and boundary distance of what is found, panoptic quality and
aggregated Jaccard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np

from medzoo.errors import UserError
from medzoo.metrics.accumulator import Measure
from medzoo.metrics.average_precision import (
    IOUS,
    LabelMatches,
    Precision,
    counted_objects,
    precision_measures,
    size_ranges,
)
from medzoo.metrics.interval import defined_mean, ratio
from medzoo.metrics.match import Rule, match_objects, match_overlaps
from medzoo.metrics.overlaps import Overlaps, ignored_parts, overlaps
from medzoo.types import Array

CROWDED = 500  # detections that count on crowded pictures, where 100 are too few
_EVERY = range(len(IOUS))
PRECISION = {
    "mask-ap": Precision("all", _EVERY, "mask IoU 0.50:0.95"),
    "mask-ap50": Precision("all", [0], "mask IoU 0.50"),
    "mask-ap75": Precision("all", [5], "mask IoU 0.75"),
    "mask-ap-small": Precision("small", _EVERY, "mask IoU 0.50:0.95"),
    "mask-ap-medium": Precision("medium", _EVERY, "mask IoU 0.50:0.95"),
    "mask-ap-large": Precision("large", _EVERY, "mask IoU 0.50:0.95"),
    "mask-ap-500": Precision("all", _EVERY, "mask IoU 0.50:0.95", CROWDED),
    "mask-ap50-500": Precision("all", [0], "mask IoU 0.50", CROWDED),
    "mask-ap75-500": Precision("all", [5], "mask IoU 0.75", CROWDED),
}
_FOUND = {
    "mask-dice": "Dice of the masks",
    "mask-assd": "mean distance between the boundaries in {unit}",
    "mask-hd95": "95th percentile Hausdorff distance of the boundaries in {unit}",
}
_PANOPTIC = {
    "panoptic-quality": "panoptic quality (sum of the IoU of hits over hits, half the misses and half the false ones)",
    "segmentation-quality": "segmentation quality (mean IoU of hits)",
    "recognition-quality": "recognition quality (F1 of detection)",
    "aggregated-jaccard": "aggregated Jaccard index",
}
NAMES = (*PRECISION, *_FOUND, *_PANOPTIC)
DISTANCES = {"mask-assd", "mask-hd95"}


@dataclass(frozen=True, eq=False)
class OutlinedImage:
    """One image: `labels` (N,) of its objects and `guesses` (D,) and `scores` (D,) of its detections, the `overlaps` of
    their masks, and of objects that do not count `ignored` (M,) labels and whether each is a `crowd`. `unit`: size of a
    voxel in cubic millimetres; 1 of pictures. `hits`: rows (detection, object) matched by their boxes."""

    labels: Array
    guesses: Array
    scores: Array
    overlaps: Overlaps
    hits: Array
    ignored: Array
    crowd: bool
    unit: float


def are_outlined(masks: tuple[Any, Any], objects: int, detections: int, item: str, *, needs: str | None) -> bool:
    """True if an image's objects and detections have masks; none are needed of none. Raises UserError where they do not
    and the metric `needs` them."""
    lacks = objects and masks[0] is None, detections and masks[1] is None
    if any(lacks) and needs is not None:
        what = "its objects have no outlines" if lacks[0] else "the detections have no outlines"
        raise UserError(f"{what}, which {needs} needs", item, "leave it out of `metrics`")
    return not any(lacks)


def outlined_image(
    truth: Any,
    found: Any,
    masks: tuple[Any, Any],
    *,
    rule: Rule,
    distances: bool,
    spacing: Sequence[float] | None,
    item: str,
) -> OutlinedImage:
    """Overlay the masks of one image. `truth` and `found`: boxes, labels, scores, ignored as arrays; `masks`: those of
    both, or of a record their `Overlaps` twice."""
    hits = _hits(truth, found, rule)
    beside = truth.ignored if truth.ignored is not None and len(truth.ignored.boxes) else None
    if any(isinstance(one, Overlaps) for one in masks):
        of = masks[1]
    else:
        parts = []
        if beside is not None and masks[1] is not None:
            parts = ignored_parts(beside.boxes, getattr(beside, "masks", None), masks[1].shape)
        of = overlaps(
            *masks,
            count=(len(truth.boxes), len(found.boxes)),
            order=[int(d) for d in np.argsort(-found.scores, kind="stable")],
            pairs=[(int(d), int(t)) for d, t in hits] if distances else (),
            ignored=parts,
            spacing=spacing,
            item=item,
        )
    return OutlinedImage(
        labels=truth.labels,
        guesses=found.labels,
        scores=found.scores,
        overlaps=of,
        hits=hits,
        ignored=np.empty(0, np.int64) if beside is None else np.asarray(beside.labels),
        crowd=beside is not None and beside.crowd,
        unit=float(np.prod(spacing)) if spacing is not None and truth.boxes.shape[1] == 6 else 1.0,
    )


def _hits(truth: Any, found: Any, rule: Rule) -> Array:
    """Rows (detection, object) that match by their boxes, label by label."""
    rows = []
    for label in np.unique(found.labels):
        mine, there = np.flatnonzero(found.labels == label), np.flatnonzero(truth.labels == label)
        mine = mine[np.argsort(-found.scores[mine], kind="stable")]
        status, taken = match_objects(truth.boxes[there], found.boxes[mine], rule=rule)
        rows += [(mine[n], there[taken[n]]) for n in np.flatnonzero(status == 1)]
    return np.array(rows, np.int64).reshape(-1, 2)


def outline_measures(
    images: Sequence[OutlinedImage],
    labels: Sequence[str],
    names: Sequence[str],
    *,
    dims: int,
    threshold: float | None,
    rule: Rule,
) -> list[Measure]:
    """The statistics of `names`; what is shown at `threshold` (None: all) counts where no precision is asked."""
    precision = {name: PRECISION[name] for name in names if name in PRECISION}
    made: list[Measure] = []
    if precision:
        rows = [[_matches(image, k, dims) for k in range(len(labels))] for image in images]
        made += precision_measures(rows, labels, precision, dims=dims, of="masks")
    where = "all detections" if threshold is None else f"score >= {threshold:g}"
    least = -np.inf if threshold is None else threshold
    made += _of_found(images, labels, [name for name in names if name in _FOUND], least, f"{where}, matched by {rule}")
    return made + _panoptic(images, labels, [name for name in names if name in _PANOPTIC], least, where)


def _matches(image: OutlinedImage, label: int, dims: int) -> LabelMatches:
    """COCO's matching of the detections of one label, the best CROWDED of them."""
    mine = np.flatnonzero(image.guesses == label)
    mine = mine[np.argsort(-image.scores[mine], kind="stable")][:CROWDED]
    there, beside = np.flatnonzero(image.labels == label), np.flatnonzero(image.ignored == label)
    of, ranges = image.overlaps, size_ranges(dims)
    sizes = of.truth[there] * image.unit
    hit, ignored = match_overlaps(
        of.fit(mine, there),
        sizes,
        of.found[mine] * image.unit,
        thresholds=IOUS,
        ranges=ranges,
        beside=of.beside(mine, beside, crowd=image.crowd),
    )
    return LabelMatches(image.scores[mine], hit, ignored, counted_objects(sizes, ranges))


def _of_found(
    images: Sequence[OutlinedImage], labels: Sequence[str], names: Sequence[str], least: float, where: str
) -> list[Measure]:
    """Means over the objects that are found, by their boxes, at the operating threshold."""
    if not names:
        return []
    known = all(not np.isnan(image.overlaps.distances[:, 4:]).any() for image in images)
    of = {"mask-dice": 0, "mask-assd": 3 if known else 1, "mask-hd95": 4 if known else 2}
    sums, counts = np.zeros((len(images), len(labels), 5)), np.zeros((len(images), len(labels)))
    for n, image in enumerate(images):
        hits = image.hits[image.scores[image.hits[:, 0]] >= least]
        dice = image.overlaps.dice(hits[:, 0], hits[:, 1])
        apart = {int(row[0]): row[2:] for row in image.overlaps.distances}
        for (detection, thing), one in zip(hits, dice, strict=True):
            row = image.labels[thing]
            counts[n, row] += 1
            sums[n, row] += [one, *apart.get(int(detection), np.zeros(4))]
    made = []
    for name in names:
        words = _FOUND[name].format(unit="mm" if known else "px")
        words = f"{words}, mean over the objects that are found, {where} of the boxes"
        made += _by_label(name, words, labels, sums[..., of[name]], counts)
    return made


def _panoptic(
    images: Sequence[OutlinedImage], labels: Sequence[str], names: Sequence[str], least: float, where: str
) -> list[Measure]:
    """Panoptic quality (Kirillov et al., CVPR 2019) and aggregated Jaccard (Kumar et al., IEEE TMI 36:1550, 2017), all
    images together, of detections without overlap: a pixel belongs to the one of the highest score."""
    if not names:
        return []
    counts = np.zeros((len(images), len(labels), 6))
    for n, image in enumerate(images):
        for label in range(len(labels)):
            counts[n, label] = _panoptic_counts(image, label, least)
    iou, hits, false, missed, both, either = np.moveaxis(counts, -1, 0)
    parts = {
        "panoptic-quality": (iou, hits + false / 2 + missed / 2),
        "segmentation-quality": (iou, hits),
        "recognition-quality": (hits, hits + false / 2 + missed / 2),
        "aggregated-jaccard": (both, either),
    }
    made = []
    for name in names:
        words = f"{_PANOPTIC[name]}, {where}, overlaps given to the surer detection, all images together"
        made += _by_label(name, words, labels, *parts[name])
    return made


def _panoptic_counts(image: OutlinedImage, label: int, least: float) -> tuple[float, ...]:
    """Sum of IoU of hits, hits, false ones, misses, and the intersection and union of aggregated Jaccard."""
    of = image.overlaps
    mine = np.flatnonzero((image.guesses == label) & (image.scores >= least) & (of.seen > 0))
    there = np.flatnonzero((image.labels == label) & (of.truth > 0))
    shared, fit = of.seen_fit(mine, there)
    # Two that overlap by more than half have no other partner.
    hit = fit > 0.5
    spared = of.seen_beside(mine, np.flatnonzero(image.ignored == label)) > 0.5
    false = ~hit.any(axis=1) & ~spared
    used = np.zeros(len(mine), bool)
    both = either = 0
    for column, thing in enumerate(there):
        best = int(fit[:, column].argmax()) if len(mine) else 0
        if len(mine) and shared[best, column]:
            used[best] = True
            both += int(shared[best, column])
            either += int(of.seen[mine[best]] + of.truth[thing] - shared[best, column])
        else:
            either += int(of.truth[thing])
    either += int(of.seen[mine[~used & ~spared]].sum())
    missed = len(there) - int(hit.sum())
    return float(fit[hit].sum()), float(hit.sum()), float(false.sum()), float(missed), float(both), float(either)


def _by_label(name: str, words: str, labels: Sequence[str], above: Array, below: Array) -> list[Measure]:
    """A ratio of sums over images, (I, labels) each: the mean over labels, and of several that of each label."""

    def source(weights: Array) -> Array:
        return ratio(weights @ above, weights @ below)

    shown = [k for k in range(len(labels)) if below[:, k].any()]
    over = ", ".join(labels[k] for k in shown) or "no label"
    made = [Measure(name, f"{words}, mean over {over}", source, defined_mean)]
    for k in shown if len(labels) > 1 else ():
        made.append(Measure(f"{name}/{labels[k]}", f"{words}, of {labels[k]}", source, itemgetter((..., k))))
    return made
