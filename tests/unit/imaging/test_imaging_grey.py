"""First-order statistics: the worked matrix of section 4; luma."""

import numpy as np
import pytest

from medzoo.errors import UserError
from medzoo.imaging.grey import first_order, luma

A = np.array([[2, 7, 1, 4, 6], [3, 2, 3, 1, 4], [5, 5, 5, 8, 9], [5, 7, 4, 9, 8], [1, 2, 7, 5, 5]])


def test_the_worked_matrix():
    expected = {"mean": 4.72, "variance": 5.8816, "skewness": 0.109541, "kurtosis": 2.015920,
                "uniformity": 0.136, "entropy": 3.022683}  # fmt: skip
    assert first_order(A) == pytest.approx(expected, abs=1e-6)
    canvas = np.full((9, 9), 99)
    canvas[2:7, 1:6] = A
    assert first_order(canvas, canvas < 99) == pytest.approx(expected, abs=1e-6)


def test_bins_cut_the_range():
    values = first_order(np.arange(64.0).reshape(8, 8), bins=4)
    assert values["entropy"] == pytest.approx(2)
    assert values["uniformity"] == pytest.approx(0.25)


def test_bad_input_is_named():
    with pytest.raises(UserError, match="mask is empty"):
        first_order(A, np.zeros((5, 5)))
    with pytest.raises(UserError, match="constant"):
        first_order(np.ones((4, 4)))
    with pytest.raises(UserError, match="not finite"):
        first_order(np.array([[1.0, np.inf]]))


def test_luma_of_any_layout():
    colour = np.random.default_rng(0).integers(0, 256, (3, 6, 7)).astype(np.uint8)
    expected = np.floor(0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] + 0.5)
    np.testing.assert_allclose(luma(colour), expected)
    np.testing.assert_allclose(luma(np.moveaxis(colour, 0, -1)), expected)
    alpha = np.concatenate([colour, np.full((1, 6, 7), 128, np.uint8)])
    np.testing.assert_allclose(luma(alpha), expected)
    np.testing.assert_array_equal(luma(colour[:1]), colour[0])
    np.testing.assert_array_equal(luma(np.stack([colour[0]] * 3)), colour[0])
    assert luma(colour / 255.0)[0, 0] == pytest.approx(expected[0, 0] / 255, abs=0.003)
    with pytest.raises(UserError, match="neither grey nor colour"):
        luma(np.zeros((2, 6, 7)))
