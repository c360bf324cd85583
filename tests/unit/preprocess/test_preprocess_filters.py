"""KNN smoothing, equalisation and CLAHE as host steps: what a recipe names is what medzoo.imaging does."""

from __future__ import annotations

import numpy as np
import pytest

from medzoo.errors import UserError
from medzoo.imaging.histogram import clahe, equalise
from medzoo.imaging.smoothing import knn_smooth
from medzoo.preprocess.steps import apply_steps, parse_steps
from medzoo.types import Image

A = np.array([[2, 7, 1, 4, 6], [3, 2, 3, 1, 4], [5, 5, 5, 8, 9], [5, 7, 4, 9, 8], [1, 2, 7, 5, 5]], np.uint8)


def test_knn_smoothing_of_the_slides_matrix() -> None:
    steps = parse_steps([{"op": "knn-smooth", "size": 3, "neighbours": 4}])
    state = apply_steps(Image(A[None]), steps)
    image, transform = state.image, state.transform
    assert image.array[0, 3, 2] == pytest.approx(4.75)
    assert image.array.dtype == np.float32
    assert np.array_equal(transform.matrix, np.eye(3))


def test_a_volume_is_filtered_slice_by_slice() -> None:
    rng = np.random.default_rng(0)
    volume = rng.integers(0, 255, (1, 12, 10, 3)).astype(np.uint8)
    image = apply_steps(Image(volume, np.eye(4)), parse_steps([{"op": "knn-smooth"}])).image
    assert image.array.shape == volume.shape
    for k in range(3):
        assert np.allclose(image.array[0, ..., k], knn_smooth(volume[0, ..., k]), atol=1e-4)


def test_equalise_flattens_and_keeps_the_dtype() -> None:
    rng = np.random.default_rng(0)
    picture = (rng.normal(80, 10, (1, 64, 64))).astype(np.uint8)
    image = apply_steps(Image(picture), parse_steps([{"op": "equalise"}])).image
    assert image.array.dtype == np.uint8
    assert np.array_equal(image.array[0], equalise(picture[0]))
    assert image.array.std() > 3 * picture.std()


def test_clahe_leaves_empty_slices_of_a_volume_alone_but_refuses_a_constant_picture() -> None:
    rng = np.random.default_rng(0)
    volume = rng.integers(0, 255, (1, 32, 32, 2)).astype(np.uint8)
    volume[..., 1] = 0
    image = apply_steps(Image(volume, np.eye(4)), parse_steps([{"op": "clahe", "tiles": 2}])).image
    assert not image.array[..., 1].any()
    assert np.array_equal(image.array[0, ..., 0], clahe(volume[0, ..., 0], tiles=2))
    with pytest.raises(UserError, match=r"flat\.png.*constant"):
        apply_steps(Image(np.zeros((1, 32, 32), np.uint8), source="flat.png"), parse_steps([{"op": "clahe"}]))


def test_equalise_names_the_constant_image() -> None:
    with pytest.raises(UserError, match=r"flat\.png: a constant image"):
        apply_steps(Image(np.zeros((1, 9, 9), np.uint8), source="flat.png"), parse_steps([{"op": "equalise"}]))


def test_a_window_that_cannot_be_had_is_named() -> None:
    with pytest.raises(UserError, match="odd"):
        apply_steps(Image(A[None]), parse_steps([{"op": "knn-smooth", "size": 4}]))
