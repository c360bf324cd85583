"""Pictures on which a detector hangs on the last bit are shifted until it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medzoo.runtime.parity.gate import Golden
from medzoo.runtime.parity.stable_inputs import stable_inputs
from medzoo.types import Array


class Edge:
    """Finds a box at the brightest column, but only where the first column's mean exceeds 100 exactly."""

    name, device = "edge", "cpu"

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        image = inputs["image"].astype(np.float64)
        found = image[:, 0, :, 0].mean(axis=1) > 100
        column = image.mean(axis=(1, 2)).argmax(axis=1)
        boxes = np.stack([column, column * 0, column + 1, column * 0 + 4], axis=1)[:, None].astype(np.float32)
        return {
            "boxes": boxes * found[:, None, None],
            "scores": found[:, None].astype(np.float32),
            "labels": np.zeros((len(image), 1), np.int64),
            "count": found.astype(np.int64),
        }


def test_only_the_undecided_picture_moves_and_keeps_its_values() -> None:
    images = np.full((2, 1, 4, 6), 50, np.float32)
    images[0, ..., 0] = 100  # exactly on the edge
    images[1, ..., 0] = 140
    chosen, moved = stable_inputs(Edge(), Golden("made", {"image": images}))  # type: ignore[arg-type]
    assert moved == 1
    np.testing.assert_array_equal(chosen.inputs["image"][1], images[1])
    np.testing.assert_array_equal(chosen.inputs["image"][0], np.roll(images[0], 1, axis=-1))


class Row(Edge):
    """Finds its box only where the first row's mean exceeds 100 exactly: no shift along it helps."""

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        return super().run({"image": inputs["image"].swapaxes(2, 3)}, outputs)


def test_a_picture_that_no_shift_decides_keeps_its_middle_before_its_median() -> None:
    images = np.full((1, 1, 8, 8), 50, np.float32)
    images[0, 0, 0] = 100  # exactly on the edge
    images[0, 0, 3:5, 3:5] = 70
    chosen, moved = stable_inputs(Row(), Golden("made", {"image": images}))  # type: ignore[arg-type]
    assert moved == 1
    expected = images.copy()
    expected[0, 0, 0] = 50
    np.testing.assert_array_equal(chosen.inputs["image"], expected)


def test_decided_pictures_are_left_as_they_are() -> None:
    golden = Golden("made", {"image": np.full((3, 1, 4, 6), 50, np.float32)})
    assert stable_inputs(Edge(), golden) == (golden, 0)  # type: ignore[arg-type]


def test_a_picture_that_no_shift_decides_stays_for_the_gate() -> None:
    golden = Golden("made", {"image": np.full((1, 1, 4, 6), 100, np.float32)})
    assert stable_inputs(Edge(), golden)[1] == 0  # type: ignore[arg-type]
