"""Match the detections of one image with its objects by rules with names. Boxes are (N, 2n), see medzoo.boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from medzoo.boxes import box_intersection, box_iou, box_size
from medzoo.types import Array


@dataclass(frozen=True)
class Rule:
    """The rule by which a detection counts as a hit.

    "iou": IoU with an object of its label is at least `threshold`; a second detection of one object is a
    false positive. "centre": its centre lies inside an object of its label (as at LUNA16: Setio et al.,
    Medical Image Analysis 42:1, 2017); a second one counts neither way.
    """

    name: Literal["iou", "centre"] = "iou"
    threshold: float = 0.5

    def __str__(self) -> str:
        return f"IoU >= {self.threshold:g}" if self.name == "iou" else "centre inside the object's box"


def match(truth: Array, found: Array, *, rule: Rule) -> Array:
    """(D,) for detections (D, 2n), best first: 1 a hit, 0 a false positive, -1 not counted.

    Each detection in turn takes the object that is still free and fits it best.
    """
    return match_objects(truth, found, rule=rule)[0]


def match_objects(truth: Array, found: Array, *, rule: Rule) -> tuple[Array, Array]:
    """`match`, and the index (D,) of the object that each detection takes, -1 where it takes none."""
    status, taken = np.zeros(len(found), np.int64), np.full(len(found), -1)
    if not len(truth) or not len(found):
        return status, taken
    if rule.name == "iou":
        fit = box_iou(found, truth)
        fits = np.greater_equal(fit, rule.threshold)
    else:
        n = truth.shape[1] // 2
        centres, middles = (found[:, :n] + found[:, n:]) / 2, (truth[:, :n] + truth[:, n:]) / 2
        inside = (centres[:, None] >= truth[None, :, :n]) & (centres[:, None] <= truth[None, :, n:])
        fits = np.logical_and.reduce(inside, axis=-1)
        fit = -np.linalg.norm(centres[:, None] - middles[None], axis=-1)
    free = np.ones(len(truth), bool)
    for d in range(len(found)):
        candidates = np.flatnonzero(fits[d] & free)
        if len(candidates):
            taken[d] = candidates[fit[d, candidates].argmax()]
            free[taken[d]] = False
            status[d] = 1
        elif rule.name == "centre" and fits[d].any():
            status[d] = -1
    return status, taken


def overlap_with_ignored(found: Array, ignored: Array, *, crowd: bool, centre: bool = False) -> Array:
    """(D,) how far detections (D, 2n) lie on objects (M, 2n) that do not count: the highest IoU; on a `crowd` the share
    of the detection itself (COCO's rule for iscrowd); with `centre` 1 where its centre lies inside one, else 0."""
    n = found.shape[1] // 2
    if not len(ignored) or not len(found):
        return np.zeros(len(found))
    if centre:
        middles = ((found[:, :n] + found[:, n:]) / 2)[:, None]
        inside = np.logical_and.reduce((middles >= ignored[None, :, :n]) & (middles <= ignored[None, :, n:]), axis=-1)
        any_of: Array = inside.any(axis=1).astype(float)
        return any_of
    if not crowd:
        highest: Array = box_iou(found, ignored).max(axis=1)
        return highest
    shared = box_intersection(found, ignored).max(axis=1)
    own = box_size(found)
    part: Array = np.divide(shared, own, out=np.zeros_like(shared), where=own > 0)
    return part


def match_coco(
    truth: Array, found: Array, *, thresholds: Array, ranges: Array, unit: float = 1.0
) -> tuple[Array, Array]:
    """COCO's matching of boxes; `found` (D, 2n) best first. Sizes are box sizes times `unit`. See match_overlaps."""
    sizes, own = box_size(truth) * unit, box_size(found) * unit
    return match_overlaps(box_iou(found, truth), sizes, own, thresholds=thresholds, ranges=ranges)


def match_overlaps(
    fit: Array, sizes: Array, own: Array, *, thresholds: Array, ranges: Array, beside: Array | None = None
) -> tuple[Array, Array]:
    """COCO's matching at T thresholds and in A size ranges at once, by overlaps `fit` (D, N) of detections, best
    first, with objects.

    `ranges` (A, 2): smallest and largest size, of objects `sizes` (N,) and of detections `own` (D,). An object outside
    the range is ignored: a detection takes it only if no other fits, and then counts neither way; nor does an unmatched
    detection outside the range. `beside` (D, M): overlaps with objects that never count, and which any number of
    detections may take. Of equal fits the last object is taken. Returns hit (A, T, D) and ignored (A, T, D).
    """

    def outside(sizes: Array) -> Array:
        return (sizes[None] < ranges[:, :1]) | (sizes[None] > ranges[:, 1:])

    ignore, counted = outside(sizes), len(sizes)
    if beside is not None:
        fit = np.hstack([fit, beside])
        ignore = np.hstack([ignore, np.ones((len(ranges), beside.shape[1]), bool)])
    shape = (len(ranges), len(thresholds), len(own))
    taken, skipped = np.zeros(shape, bool), np.zeros(shape, bool)
    if fit.size:
        least = np.minimum(thresholds, 1 - 1e-10)
        free = np.ones((*shape[:2], fit.shape[1]), bool)
        a, t = np.ogrid[: shape[0], : shape[1]]
        last = fit.shape[1] - 1
        for d in np.flatnonzero(fit.max(axis=1) >= least.min()):
            # An object that counts beats any ignored one; an overlap is at most 1, so 2 parts the two kinds.
            rank = np.where(free & (fit[d] >= least[:, None]), fit[d] + 2 * ~ignore[:, None], -1.0)
            best = last - rank[..., ::-1].argmax(axis=-1)
            won = rank[a, t, best] >= 0
            taken[..., d] = won
            skipped[..., d] = won & ignore[a, best]
            free[a, t, best] &= ~won | (best >= counted)
    skipped |= ~taken & outside(own)[:, None]
    return taken & ~skipped, skipped
