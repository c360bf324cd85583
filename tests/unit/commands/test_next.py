"""The order of labelling: unsure images first, far from what is known and from each other, copies last."""

from __future__ import annotations

import numpy as np
import pytest

from medzoo.commands.next import next_to_label, spread_order, uncertainty
from medzoo.errors import UserError
from medzoo.results import Classification, Detections
from medzoo.types import Image


def test_chosen_images_are_spread_over_clusters() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [20, 0], [0, 20], [20, 20]], float)
    rows = np.concatenate([centre + rng.normal(0, 0.5, (25, 2)) for centre in centres])
    known = centres[:1] + rng.normal(0, 0.5, (10, 2))
    groups = [str(k) for k in range(100)]
    order, away = spread_order(rows, np.ones(100), groups, known=known, count=6)
    assert {k // 25 for k in order[:3]} == {1, 2, 3}  # the cluster that is known comes last
    assert away[0] == 1.0
    assert away == sorted(away, reverse=True)


def test_the_unsure_come_before_the_sure() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(0, 1, (50, 3))
    unsure = np.linspace(0, 1, 50)
    order, _ = spread_order(rows, unsure, [str(k) for k in range(50)], known=np.zeros((1, 3)), count=10)
    assert np.mean(unsure[order]) > 0.65


def test_copies_come_last() -> None:
    rows = np.arange(6, dtype=float)[:, None] * np.array([[1.0, 0.0]])
    groups = ["a", "a", "a", "b", "b", "c"]
    order, _ = spread_order(rows, np.ones(6), groups, known=np.zeros((0, 2)), count=6)
    assert len({groups[k] for k in order[:3]}) == 3
    assert sorted(order) == list(range(6))


@pytest.mark.parametrize(("probabilities", "expected"), [((0.5, 0.5), 1.0), ((1.0, 0.0), 0.0)])
def test_the_entropy_of_classes(probabilities: tuple[float, float], expected: float) -> None:
    named = dict(zip(("a", "b"), probabilities, strict=True))
    result = Classification(input="x", model="m", label="a", probabilities=named)
    assert uncertainty(result) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("scores", "expected"), [([0.5], 1.0), ([0.99], 0.02), ([], 0.5)])
def test_boxes_near_one_half_are_unsure(scores: list[float], expected: float) -> None:
    count = len(scores)
    result = Detections(
        input="x",
        model="m",
        image=Image(np.zeros((1, 9, 9), np.uint8)),
        labels=("a",),
        boxes=np.tile([1.0, 1, 3, 3], (count, 1)).reshape(-1, 4),
        scores=np.array(scores),
        classes=np.zeros(count, int),
    )
    assert uncertainty(result) == pytest.approx(expected)


def test_a_folder_without_images_is_named(tmp_path: object) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        next_to_label("breast-ultrasound-cnn", ["nowhere"])
