"""Comparison of two backends' detections on the same images, matched so that their order does not matter."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from medzoo.boxes import box_iou
from medzoo.runtime.parity.tolerance import Tolerance
from medzoo.types import Array


def compare_confident(
    expected: Mapping[str, Array], got: Mapping[str, Array], tolerance: Tolerance, sure: float
) -> dict[str, float]:
    """Compare detections with a score of at least `sure` on either side with the best overlapping one of the other.

    Returns the largest differences: `boxes` as one minus IoU, `scores`, `masks` as the mean over a mask's
    points, and in `labels` the number of detections without a partner of IoU 0.5.
    """
    largest = dict.fromkeys(("boxes", "scores", "labels"), 0.0) | _none(expected)
    for image in range(len(expected["count"])):
        mine, theirs = (
            {name: side[name][image, : int(side["count"][image])] for name in largest} for side in (expected, got)
        )
        # What torch was not sure of may be a little above the limit on the other side.
        for one, other, limit in ((mine, theirs, sure), (theirs, mine, sure + tolerance.allowed["scores"])):
            for index in np.flatnonzero(one["scores"] >= limit):
                meets = box_iou(one["boxes"][index : index + 1], other["boxes"])[0] * (
                    other["labels"] == one["labels"][index]
                )
                if not len(meets) or meets.max() < 0.5:
                    largest["labels"] += 1
                    continue
                # Of those that meet it as well as any, the one with the nearest score.
                gaps = np.abs(other["scores"] - one["scores"][index]) + 10.0 * (meets < meets.max() - 0.05)
                partner = int(gaps.argmin())
                largest["boxes"] = max(largest["boxes"], 1 - float(meets[partner]))
                largest["scores"] = max(largest["scores"], float(gaps[partner]))
                if "masks" in largest:
                    apart = np.abs(one["masks"][index] - other["masks"][partner])
                    largest["masks"] = max(largest["masks"], float(apart.mean()))
    return largest


def _none(outputs: Mapping[str, Array]) -> dict[str, float]:
    """No difference of masks, where there are any."""
    return {"masks": 0.0} if "masks" in outputs else {}


def compare_detections(
    expected: Mapping[str, Array], got: Mapping[str, Array], tolerance: Tolerance
) -> dict[str, float]:
    """Return the largest differences of matched detections; `labels` counts those without a partner of their class."""
    from scipy.optimize import linear_sum_assignment

    largest = dict.fromkeys(("boxes", "scores", "labels", "count"), 0.0) | _none(expected)
    for image, (count, other) in enumerate(zip(expected["count"], got["count"], strict=True)):
        boxes, scores, labels = (
            [side[name][image, :n].astype(np.float64) for side, n in ((expected, int(count)), (got, int(other)))]
            for name in ("boxes", "scores", "labels")
        )
        apart = {
            "boxes": np.abs(boxes[0][:, None] - boxes[1][None]).max(axis=2, initial=0),
            "scores": np.abs(scores[0][:, None] - scores[1][None]),
            "labels": (labels[0][:, None] != labels[1][None]).astype(float),
        }
        # In units of what is allowed; not-a-number counts as far away.
        allowed = tolerance.allowed
        cost = apart["boxes"] / allowed["boxes"] + apart["scores"] / allowed["scores"] + 1e6 * apart["labels"]
        pairs = linear_sum_assignment(np.nan_to_num(cost, nan=1e12, posinf=1e12))
        found = {name: apart[name][pairs] for name in apart}
        mine = {
            "boxes": found["boxes"].max(initial=0),
            "scores": found["scores"].max(initial=0),
            "labels": found["labels"].sum(),
            "count": abs(float(count) - float(other)),
        }
        # What follows the last detection is zero in both.
        mine["boxes"] = max(mine["boxes"], np.abs(got["boxes"][image, int(other) :]).max(initial=0))
        mine["scores"] = max(mine["scores"], np.abs(got["scores"][image, int(other) :]).max(initial=0))
        if "masks" in largest:
            one, two = (side["masks"][image].astype(np.float64) for side in (expected, got))
            paired = np.abs(one[: int(count)][pairs[0]] - two[: int(other)][pairs[1]]).max(initial=0)
            mine["masks"] = max(paired, np.abs(two[int(other) :]).max(initial=0))
        for name, value in mine.items():
            largest[name] = max(largest[name], float(value)) if np.isfinite(value) else float("inf")
    return largest
