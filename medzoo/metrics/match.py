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
    if not len(truth) or not len(found):
        return np.zeros(len(found), np.int64)
    if rule.name == "iou":
        fit = box_iou(found, truth)
        fits = np.greater_equal(fit, rule.threshold)
    else:
        n = truth.shape[1] // 2
        centres, middles = (found[:, :n] + found[:, n:]) / 2, (truth[:, :n] + truth[:, n:]) / 2
        inside = (centres[:, None] >= truth[None, :, :n]) & (centres[:, None] <= truth[None, :, n:])
        fits = np.logical_and.reduce(inside, axis=-1)
        fit = -np.linalg.norm(centres[:, None] - middles[None], axis=-1)
    status = np.zeros(len(found), np.int64)
    free = np.ones(len(truth), bool)
    for d in range(len(found)):
        candidates = np.flatnonzero(fits[d] & free)
        if len(candidates):
            free[candidates[fit[d, candidates].argmax()]] = False
            status[d] = 1
        elif rule.name == "centre" and fits[d].any():
            status[d] = -1
    return status


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
    """COCO's matching at T thresholds and in A size ranges at once; `found` (D, 2n) best first.

    `ranges` (A, 2): smallest and largest size, box size times `unit`. An object outside the range is ignored:
    a detection takes it only if no other fits, and then counts neither way; nor does an unmatched detection
    outside the range. Of equal fits the last object is taken. Returns hit (A, T, D) and ignored (A, T, D).
    """

    def outside(boxes: Array) -> Array:
        sizes = box_size(boxes) * unit
        return (sizes[None] < ranges[:, :1]) | (sizes[None] > ranges[:, 1:])

    ignore = outside(truth)
    shape = (len(ranges), len(thresholds), len(found))
    taken, skipped = np.zeros(shape, bool), np.zeros(shape, bool)
    if len(truth) and len(found):
        fit = box_iou(found, truth)
        least = np.minimum(thresholds, 1 - 1e-10)
        free = np.ones((*shape[:2], len(truth)), bool)
        a, t = np.ogrid[: shape[0], : shape[1]]
        last = len(truth) - 1
        for d in np.flatnonzero(fit.max(axis=1) >= least.min()):
            # An object that counts beats any ignored one; IoU is at most 1, so 2 parts the two kinds.
            rank = np.where(free & (fit[d] >= least[:, None]), fit[d] + 2 * ~ignore[:, None], -1.0)
            best = last - rank[..., ::-1].argmax(axis=-1)
            won = rank[a, t, best] >= 0
            taken[..., d] = won
            skipped[..., d] = won & ignore[a, best]
            free[a, t, best] &= ~won
    skipped |= ~taken & outside(found)[:, None]
    return taken & ~skipped, skipped
