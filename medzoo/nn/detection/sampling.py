"""Sample the reference boxes a detector learns from: matching with the objects, and balanced sampling.

Knows boxes. Draws come from torch's global generator, so a seeded run repeats.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medzoo.nn.detection.boxes import clip, iou, large_enough

BACKGROUND, IGNORED = -1, -2


def match(
    references: Tensor,
    objects: Tensor,
    *,
    positive: float,
    negative: float,
    floor: float = 0.0,
    best: bool = False,
) -> Tensor:
    """For each reference (N, 4) the index of its object (M, 4), BACKGROUND or IGNORED, as int64 (N,).

    Overlap >= `positive` gives the object, [`floor`, `negative`) background, the rest is left out. `best`
    also gives every object the references that overlap it most (Faster R-CNN, section 3.1.2).
    """
    if not len(objects):
        return torch.full((len(references),), BACKGROUND, device=references.device)
    overlap = iou(objects, references)
    highest, matched = overlap.max(dim=0)
    result = torch.full_like(matched, IGNORED)
    result[(highest >= floor) & (highest < negative)] = BACKGROUND
    result = torch.where(highest >= positive, matched, result)
    if best:
        per_object = overlap.max(dim=1, keepdim=True).values
        chosen = (overlap == per_object) & (per_object > 0)
        result = torch.where(
            chosen.any(dim=0), torch.where(highest >= positive, matched, chosen.int().argmax(dim=0)), result
        )
    return result


def sample(matched: Tensor, *, size: int, positive_share: float) -> Tensor:
    """Indices of at most `size` of `matched` (N,), at most `positive_share` of them with an object.

    Where positives are few, background fills up; references that are left out are never drawn.
    """
    positives = torch.nonzero(matched >= 0).squeeze(1)
    negatives = torch.nonzero(matched == BACKGROUND).squeeze(1)
    wanted = min(len(positives), int(size * positive_share))
    rest = min(len(negatives), size - wanted)
    return torch.cat(
        [
            positives[torch.randperm(len(positives), device=matched.device)[:wanted]],
            negatives[torch.randperm(len(negatives), device=matched.device)[:rest]],
        ]
    )


def jitter(objects: Tensor, valid_size: Tensor, *, copies: int) -> Tensor:
    """`copies` of each object (M, 4), moved and resized at random: (M * copies, 4), clipped to `valid_size` (2,).

    Centres move by up to a fifth of a side, sides change by a factor of 0.8 to 1.25; most overlap theirs by
    more than half. They show the head near misses before the proposal network finds any.
    """
    repeated = objects.repeat_interleave(copies, dim=0)
    size, draws = repeated[:, 2:] - repeated[:, :2], torch.rand_like(repeated) * 2 - 1
    centre = (repeated[:, :2] + repeated[:, 2:]) / 2 + 0.2 * size * draws[:, :2]
    half = size * torch.pow(1.25, draws[:, 2:]) / 2
    moved = clip(torch.cat([centre - half, centre + half], dim=1), valid_size)
    return moved[large_enough(moved)]
