"""Boxes of slices become boxes of a volume, in the axes of the file and in millimetres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from medzoo.results import Detections
from medzoo.runtime.decode.volume_boxes import merge_slices
from medzoo.runtime.metadata import Geometry, Metadata
from medzoo.runtime.predictor import Predictor
from medzoo.types import Array, Image


class Bright:
    """Boxes what is bright in the middle channel of a slice; the score is its brightness over 255."""

    name, device = "made", "cpu"

    def __init__(self, axis: int, *, host: Sequence[Mapping[str, object]] = ()) -> None:
        geometry = Geometry(slices=3, axis=axis)
        self.metadata = Metadata(
            name="made", task="detect", labels=("lesion",), geometry=geometry, host=tuple(dict(s) for s in host)
        )

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        image = inputs["image"]
        assert image.shape[1] == 3
        rows, columns = np.nonzero(image[0, 1] > 0)
        answer = {"boxes": np.zeros((1, 2, 4), np.float32), "scores": np.zeros((1, 2), np.float32)}
        if len(rows):
            answer["boxes"][0, 0] = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            answer["scores"][0, 0] = image[0, 1].max() / 255
        count = np.array([int(bool(len(rows)))])
        return {**answer, "labels": np.zeros((1, 2), np.int64), "count": count}


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("host", [(), ({"op": "orient", "to": "RAS"},)])
def test_a_box_lies_where_the_lesion_lies(axis: int, host: tuple[Mapping[str, object], ...]) -> None:
    array = np.zeros((1, 20, 24, 28), np.float32)
    array[0, 3:7, 10:15, 8:14] = 200
    # Stored left to right reversed, 2 mm along the last axis.
    affine = np.diag([-1.0, 1.0, 2.0, 1.0])
    affine[:3, 3] = 5, -3, 7
    result = Predictor(Bright(axis, host=host)).predict(Image(array, affine, "made"))
    assert isinstance(result, Detections)
    np.testing.assert_allclose(result.boxes, [[3, 10, 8, 7, 15, 14]], atol=1e-4)
    assert result.scores[0] == pytest.approx(200 / 255)
    assert result.boxes_mm is not None
    np.testing.assert_allclose(
        result.boxes_mm[0], [[5 - 6.5, 10 - 0.5 - 3, 2 * 7.5 + 7], [5 - 2.5, 15 - 0.5 - 3, 2 * 13.5 + 7]], atol=1e-4
    )


def test_two_objects_of_one_place_with_empty_slices_between_stay_two() -> None:
    array = np.zeros((1, 20, 20, 20), np.float32)
    array[0, 5:9, 5:9, 2:5] = 250
    array[0, 5:9, 5:9, 6:8] = 140  # one slice missing: the same object
    array[0, 5:9, 5:9, 12:15] = 150
    result = Predictor(Bright(2), threshold=0.2).predict(Image(array, np.eye(4), "made"))
    assert isinstance(result, Detections)
    np.testing.assert_allclose(result.boxes, [[5, 5, 2, 9, 9, 8], [5, 5, 12, 9, 9, 15]], atol=1e-4)
    assert result.scores == pytest.approx([250 / 255, 150 / 255])


def test_nothing_found_is_an_empty_result() -> None:
    result = Predictor(Bright(2)).predict(Image(np.zeros((1, 9, 9, 9), np.float32), np.eye(4), "made"))
    assert isinstance(result, Detections)
    assert result.boxes.shape == (0, 6)
    assert not len(result)


def test_merging_weighs_by_score_and_overlap_and_keeps_classes_apart() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 10], [30, 30, 34, 34]], float)
    scores, classes, places = np.array([0.9, 0.45, 0.8, 0.5]), np.array([0, 0, 1, 0]), np.array([4, 5, 5, 5])
    merged, best, kinds = merge_slices(boxes, scores, classes, places)
    # The mean over three slices, of which the first object has two and the others one.
    assert best == pytest.approx([(0.9 + 0.45) / 3, 0.8 / 3, 0.5 / 3])
    assert kinds.tolist() == [0, 1, 0]
    # Midway between the mean, with weights 0.9 * 1 * 100 and 0.45 * 0.8 * 80, and the box around both.
    height = ((90 * 10 + 28.8 * 8) / (90 + 28.8) + 10) / 2
    np.testing.assert_allclose(merged[0], [0, 0, 4, 10, height, 6], rtol=1e-6)
    np.testing.assert_allclose(merged[1:, [2, 5]], [[5, 6], [5, 6]])


def test_what_shows_in_several_slices_comes_before_a_surer_box_of_one() -> None:
    boxes = np.array([[0, 0, 9, 9]] * 3 + [[40, 40, 49, 49]], float)
    merged, best, _ = merge_slices(boxes, np.array([0.6, 0.7, 0.6, 0.95]), np.zeros(4, int), np.array([3, 4, 5, 9]))
    assert merged[:, 0].tolist() == [0, 40]
    assert best == pytest.approx([1.9 / 3, 0.95 / 3])


def test_the_blur_of_an_object_neither_lengthens_it_nor_stays_as_a_box_of_its_own() -> None:
    boxes = np.array([[0, 0, 10, 10]] * 5, float)
    scores, places = np.array([0.1, 0.8, 0.9, 0.26, 0.1]), np.array([2, 3, 4, 5, 8])
    merged, best, _ = merge_slices(boxes, scores, np.zeros(5, int), places)
    assert merged[:, [2, 5]].tolist() == [[3, 5], [8, 9]]  # slice 2 and 5 are blur, 8 lies apart
    assert best == pytest.approx([1.7 / 3, 0.1 / 3])
