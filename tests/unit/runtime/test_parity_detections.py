"""The gate on detections: order among equals is free, everything else is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from medzoo.runtime.parity.gate import Golden, compare
from medzoo.types import Array

GOLDEN = Golden("made", {"image": np.zeros((3, 1, 8, 8), np.float32)})
Answer = dict[str, Array]


def answer() -> Answer:
    """No, one and three detections in rows of four; two of the three have the same score."""
    boxes = np.zeros((3, 4, 4), np.float32)
    boxes[1, 0] = 1, 2, 5, 6
    boxes[2, :3] = [[0, 0, 4, 4], [4, 4, 8, 8], [1, 1, 3, 3]]
    scores = np.array([[0, 0, 0, 0], [0.9, 0, 0, 0], [0.8, 0.8, 0.3, 0]], np.float32)
    labels = np.array([[0] * 4, [1, 0, 0, 0], [0, 1, 0, 0]])
    return {"boxes": boxes, "scores": scores, "labels": labels, "count": np.array([0, 1, 3])}


def failing(got: Mapping[str, Array]) -> list[str]:
    return [d.output for d in compare(GOLDEN, answer(), got) if not d.holds]


def test_equal_scores_may_stand_in_either_order() -> None:
    got = answer()
    for value in (got["boxes"], got["labels"]):
        value[2, [0, 1]] = value[2, [1, 0]]
    assert failing(got) == []
    assert {d.output: d.difference for d in compare(GOLDEN, answer(), got)} == dict.fromkeys(got, 0.0)


def test_rounding_passes_and_is_reported() -> None:
    got = answer()
    got["boxes"] += np.where(got["boxes"] > 0, 0.004, 0).astype(np.float32)
    got["scores"][1, 0] += 5e-5
    largest = {d.output: d.difference for d in compare(GOLDEN, answer(), got)}
    assert failing(got) == []
    assert largest["boxes"] == pytest.approx(0.004, rel=1e-2)
    assert largest["scores"] == pytest.approx(5e-5, rel=1e-2)


def _moved(got: Answer) -> None:
    got["boxes"][2, 2] += 0.02


def _scored(got: Answer) -> None:
    got["scores"][1, 0] -= 2e-4


def _relabelled(got: Answer) -> None:
    got["labels"][2, 0] = 1


def _lost(got: Answer) -> None:
    got["count"][2] = 2
    got["boxes"][2, 2], got["scores"][2, 2] = 0, 0


def _invented(got: Answer) -> None:
    got["count"][0] = 1


def _untidy(got: Answer) -> None:
    got["boxes"][0, 3] = 1


def _broken(got: Answer) -> None:
    got["scores"][1, 0] = np.nan


@pytest.mark.parametrize(
    ("damage", "output"),
    [
        (_moved, "boxes"),
        (_scored, "scores"),
        (_relabelled, "labels"),
        (_lost, "count"),
        (_invented, "count"),
        (_untidy, "boxes"),
        (_broken, "scores"),
    ],
)
def test_a_difference_is_found_in_the_output_that_has_it(damage: Callable[[Answer], None], output: str) -> None:
    got = answer()
    damage(got)
    assert output in failing(got)


def test_another_number_of_rows_is_refused() -> None:
    got = {name: value[:, :3] if value.ndim > 1 else value for name, value in answer().items()}
    assert failing(got) == ["boxes (shape)", "scores (shape)", "labels (shape)"]
