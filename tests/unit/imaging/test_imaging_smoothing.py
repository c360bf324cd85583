"""KNN smoothing: the worked matrix of the algorithms' section 1, the identities, a plain loop."""

import numpy as np
import pytest

from medzoo.errors import UserError
from medzoo.imaging.smoothing import knn_smooth

A = np.array([[2, 7, 1, 4, 6], [3, 2, 3, 1, 4], [5, 5, 5, 8, 9], [5, 7, 4, 9, 8], [1, 2, 7, 5, 5]])
AVERAGED = np.array([[13 / 6, 3, 2.25], [5, 4.75, 8.5], [6, 4.75, 8.5]])
RASTER = np.array([[2, 2.5, 2.25], [5, 4.25, 8.5], [6, 4.75, 8.5]])


def plain(image, size, neighbours, ties, border):
    """The definition, pixel by pixel."""
    r = size // 2
    padded = np.pad(image.astype(float), r, mode=border)
    out = np.empty(image.shape)
    for y, x in np.ndindex(*image.shape):
        window = padded[y : y + size, x : x + size].ravel()
        far = np.abs(window - padded[y + r, x + r])
        order = np.argsort(far, kind="stable")
        if ties == "raster":
            out[y, x] = window[order[:neighbours]].mean()
        else:
            bound = far[order[neighbours - 1]]
            nearer, level = window[far < bound], window[far == bound]
            out[y, x] = (nearer.sum() + level.mean() * (neighbours - len(nearer))) / neighbours
    return out


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
@pytest.mark.parametrize(("ties", "expected"), [("average", AVERAGED), ("raster", RASTER)])
def test_the_worked_matrix(dtype, ties, expected):
    out = knn_smooth(A.astype(dtype), size=3, neighbours=4, ties=ties, engine="numpy")
    np.testing.assert_allclose(out[1:4, 1:4], expected, atol=1e-12)
    assert out[3, 2] == 4.75


@pytest.mark.parametrize("engine", ["numpy", "numba"])
@pytest.mark.parametrize("border", ["reflect", "symmetric", "edge", "wrap"])
@pytest.mark.parametrize("ties", ["average", "raster"])
@pytest.mark.parametrize(("size", "neighbours"), [(3, 2), (5, 9), (5, 24), (7, 25)])
def test_equals_the_definition(size, neighbours, ties, border, engine):
    if engine == "numba":
        pytest.importorskip("numba")
    rng = np.random.default_rng(size * neighbours)
    for image in (rng.integers(0, 256, (19, 83)).astype(np.uint8), rng.normal(size=(19, 83))):
        expected = plain(image, size, neighbours, ties, border)
        out = knn_smooth(image, size=size, neighbours=neighbours, ties=ties, border=border, engine=engine)
        np.testing.assert_allclose(out, expected, atol=1e-9)


def test_one_neighbour_is_identity_and_all_are_the_mean():
    image = np.random.default_rng(0).integers(0, 256, (40, 31)).astype(np.uint8)
    np.testing.assert_array_equal(knn_smooth(image, neighbours=1), image)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(image.astype(float), 2, mode="reflect"), (5, 5))
    np.testing.assert_allclose(knn_smooth(image, size=5, neighbours=25), windows.mean(axis=(2, 3)), atol=1e-10)


def test_constants_stay_and_grey_scales_commute():
    np.testing.assert_array_equal(knn_smooth(np.full((9, 9), 37, np.uint8)), np.full((9, 9), 37.0))
    image = np.random.default_rng(1).integers(0, 50, (24, 24)).astype(float)
    np.testing.assert_allclose(knn_smooth(4 * image + 7), 4 * knn_smooth(image) + 7, atol=1e-10)


def test_turning_commutes_only_with_averaged_ties():
    image = np.random.default_rng(2).integers(0, 8, (20, 20)).astype(np.uint8)
    turned = np.rot90(image)
    np.testing.assert_allclose(knn_smooth(turned), np.rot90(knn_smooth(image)), atol=1e-12)
    by_row = knn_smooth(turned, ties="raster") - np.rot90(knn_smooth(image, ties="raster"))
    assert np.abs(by_row).max() > 0.1


def test_extreme_bytes_do_not_wrap():
    image = np.array([[255, 0, 255], [0, 255, 0], [255, 0, 255]], np.uint8)
    assert knn_smooth(image, size=3, neighbours=5)[1, 1] == 255


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 4}, "odd"),
        ({"neighbours": 0}, "1 to 25"),
        ({"neighbours": 26}, "1 to 25"),
        ({"ties": "first"}, "average, raster"),
        ({"border": "zero"}, "reflect"),
        ({"engine": "c"}, "numpy, numba"),
    ],
)
def test_wrong_options_are_named(options, words):
    with pytest.raises(UserError, match=words):
        knn_smooth(np.ones((9, 9)), **options)


def test_numba_requested_and_absent_names_the_extra(monkeypatch):
    monkeypatch.setattr("medzoo.imaging.compiled.installed", lambda: False)
    with pytest.raises(UserError, match=r"medzoo\[fast\]"):
        knn_smooth(A, size=3, neighbours=4, engine="numba")
    assert knn_smooth(A, size=3, neighbours=4)[3, 2] == 4.75


def test_large_images_go_tile_by_tile(monkeypatch):
    image = np.random.default_rng(3).integers(0, 99, (37, 20)).astype(np.uint16)
    whole = knn_smooth(image, engine="numpy")
    monkeypatch.setattr("medzoo.imaging.smoothing._TILE_BYTES", 25 * 20 * 2 * 5)
    np.testing.assert_array_equal(knn_smooth(image, engine="numpy"), whole)


def test_nan_is_refused():
    with pytest.raises(UserError, match="not finite"):
        knn_smooth(np.array([[1.0, np.nan], [2.0, 3.0]]), size=3, neighbours=2)
