"""Postprocess a detector's scored boxes: non-maximum suppression by class, sorted by score, a fixed number."""

from __future__ import annotations

import torch
from torch import Tensor

from medzoo.nn.detection.nms import nms, stable_top_k

# What a graph returns lies above this score; the operating threshold is chosen later, on validation data.
SCORE_FLOOR = 0.01


def postprocess(
    boxes: Tensor, scores: Tensor, calibrated: Tensor | None = None, *, overlap: float, rows: int
) -> dict[str, Tensor]:
    """`boxes` (B, rows, 4), `scores` (B, rows), `labels` (B, rows), `count` (B,) of boxes (B, K, R, 4) and scores
    (B, K, R); what follows the count is zero.

    `overlap`: the IoU above which the weaker of two boxes of one class is suppressed. `calibrated` (B, K, R): scores to
    return and to rank by; suppression goes by `scores` alone.
    """
    places_of_one = scores.shape[2]
    # Suppression is among boxes of one class: each class is a row of its own.
    keep = nms(boxes.flatten(0, 1), scores.flatten(0, 1), overlap, SCORE_FLOOR)
    keep = keep.reshape(scores.shape)
    # What its score keeps is answered, however small its chance: figures over all thresholds need the tail.
    reported = scores if calibrated is None else calibrated
    kept = torch.where(keep, reported, torch.zeros_like(reported)).flatten(1)
    # As many rows as asked for, however few regions there are.
    kept = _pad_rows(kept, rows)
    every = _pad_rows(boxes.flatten(1, 2).transpose(1, 2), rows).transpose(1, 2)
    values, places = stable_top_k(kept, rows)
    found = values > 0
    chosen = every.gather(1, places[..., None].expand(-1, -1, 4))
    labels = torch.div(places, places_of_one, rounding_mode="floor")
    return {
        "boxes": torch.where(found[..., None], chosen, torch.zeros_like(chosen)),
        "scores": values,
        "labels": torch.where(found, labels, torch.zeros_like(labels)),
        "count": found.sum(dim=1),
    }


def _pad_rows(values: Tensor, count: int) -> Tensor:
    """`count` zeros after the last axis."""
    padded: Tensor = torch.nn.functional.pad(values, (0, count))
    return padded
