"""Matching references with objects, and sampling those for the loss."""

from __future__ import annotations

import torch

from medzoo.nn.detection.boxes import iou
from medzoo.nn.detection.sampling import BACKGROUND, IGNORED, jitter, match, sample

OBJECTS = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]])
# Overlaps with the first object: 1, 0.6, 0.25, 0; with the second 0.2 at most.
REFERENCES = torch.tensor(
    [[0.0, 0, 10, 10], [0, 0, 6, 10], [0, 0, 5, 5], [80, 80, 90, 90], [58, 50, 68, 60], [52, 50, 57, 54]]
)


def test_thresholds_divide_objects_background_and_the_rest() -> None:
    assert match(REFERENCES, OBJECTS, positive=0.7, negative=0.3).tolist() == [
        0, IGNORED, BACKGROUND, BACKGROUND, BACKGROUND, BACKGROUND,
    ]  # fmt: skip
    assert match(REFERENCES, OBJECTS, positive=0.5, negative=0.5).tolist()[:3] == [0, 0, BACKGROUND]
    assert match(REFERENCES, OBJECTS, positive=0.5, negative=0.5, floor=0.1).tolist() == [
        0, 0, BACKGROUND, IGNORED, BACKGROUND, BACKGROUND,
    ]  # fmt: skip


def test_best_gives_every_object_a_reference() -> None:
    matched = match(REFERENCES, OBJECTS, positive=0.7, negative=0.3, best=True)
    assert matched.tolist() == [0, IGNORED, BACKGROUND, BACKGROUND, BACKGROUND, 1]


def test_best_shares_ties_and_leaves_an_object_out_of_reach_without() -> None:
    twice = torch.tensor([[0.0, 0, 4, 10], [6, 0, 10, 10], [80, 80, 90, 90]])
    far = torch.tensor([[0.0, 0, 10, 10], [500, 500, 510, 510]])
    assert match(twice, far, positive=0.7, negative=0.3, best=True).tolist() == [0, 0, BACKGROUND]


def test_an_image_without_objects_is_all_background() -> None:
    matched = match(REFERENCES, torch.zeros(0, 4), positive=0.5, negative=0.5, floor=0.1, best=True)
    assert matched.eq(BACKGROUND).all()
    assert len(sample(matched, size=4, positive_share=0.5)) == 4


def test_sampling_balances_fills_up_and_never_takes_ignored_references() -> None:
    matched = torch.tensor([3] * 20 + [BACKGROUND] * 30 + [IGNORED] * 50)
    drawn = matched[sample(matched, size=16, positive_share=0.25)]
    assert ((drawn >= 0).sum(), (drawn == BACKGROUND).sum()) == (4, 12)
    few = torch.tensor([3] * 2 + [BACKGROUND] * 30 + [IGNORED] * 50)
    drawn = few[sample(few, size=16, positive_share=0.25)]
    assert ((drawn >= 0).sum(), (drawn == BACKGROUND).sum()) == (2, 14)


def test_sampling_repeats_under_a_seed_and_changes_with_it() -> None:
    matched = torch.tensor([0] * 50 + [BACKGROUND] * 200)
    draws = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        draws.append(sample(matched, size=32, positive_share=0.5).tolist())
    assert draws[0] == draws[1] != draws[2]


def test_jittered_positives_overlap_their_object_and_stay_inside() -> None:
    torch.manual_seed(0)
    moved = jitter(OBJECTS, torch.tensor([60.0, 55.0]), copies=200)
    assert len(moved) == 400
    assert (moved >= 0).all()
    assert (moved <= torch.tensor([60.0, 55.0, 60.0, 55.0])).all()
    overlap = iou(OBJECTS[:1], moved[:200])[0]
    assert 0.25 < overlap.min() < 0.6 < overlap.median() < overlap.max() < 1
    assert len(jitter(OBJECTS, torch.tensor([60.0, 55.0]), copies=0)) == 0
