"""Equalisation: the worked matrix and table of section 2, OpenCV's own result, 16 bit, windows, CLAHE."""

import numpy as np
import pytest

from medzoo.errors import UserError
from medzoo.imaging.histogram import clahe, equalisation_map, equalise, histogram

A = np.array([[2, 7, 1, 4, 6], [3, 2, 3, 1, 4], [5, 5, 5, 8, 9], [5, 7, 4, 9, 8], [1, 2, 7, 5, 5]])


def test_the_worked_matrix():
    counts = histogram(A, levels=10)
    assert counts.tolist() == [0, 3, 3, 2, 3, 6, 1, 3, 2, 2]
    assert equalisation_map(counts).tolist() == [0, 1, 2, 3, 4, 6, 6, 8, 8, 9]
    assert equalise(A.astype(np.uint8), levels=10)[0].tolist() == [2, 8, 1, 4, 6]


def test_gonzalez_and_woods():
    counts = np.array([790, 1023, 850, 656, 329, 245, 122, 81])
    assert equalisation_map(counts).tolist() == [1, 3, 5, 6, 6, 7, 7, 7]


def test_opencv_method_is_opencvs():
    cv2 = pytest.importorskip("cv2")
    image = np.clip(np.random.default_rng(0).normal(90, 20, (120, 77)), 0, 255).astype(np.uint8)
    ours, theirs = equalise(image, method="opencv").astype(int), cv2.equalizeHist(image).astype(int)
    # OpenCV scales in single precision, so exact halves may fall to the other side.
    assert np.abs(ours - theirs).max() <= 1
    assert (ours == theirs).mean() > 0.99


def test_sixteen_bit_has_its_own_bins():
    image = np.random.default_rng(0).integers(1000, 3000, (64, 64)).astype(np.uint16)
    full, coarse = equalise(image), equalise(image, bins=256)
    assert full.dtype == coarse.dtype == np.uint16
    assert full.max() == coarse.max() == 65535
    assert len(np.unique(full)) == len(np.unique(image))
    assert len(np.unique(coarse)) <= 9  # 2000 values lie in 8 or 9 of 256 bins
    twelve = equalise(image, levels=4096)
    assert twelve.max() == 4095


def test_hounsfield_units_are_windowed_first():
    hu = np.random.default_rng(0).integers(-1000, 1000, (50, 50)).astype(np.int16)
    with pytest.raises(UserError, match="window"):
        equalise(hu)
    out = equalise(hu, window=(-160, 240))
    assert out.dtype == np.uint8
    assert (out[hu >= 240] == 255).all()
    assert np.unique(out[hu <= -160]).size == 1


@pytest.mark.parametrize("method", ["textbook", "opencv"])
def test_a_constant_image_is_an_error(method):
    with pytest.raises(UserError, match="constant"):
        equalise(np.full((8, 8), 3, np.uint8), method=method)
    with pytest.raises(UserError, match="constant"):
        clahe(np.full((8, 8), 3, np.uint8))


def test_values_outside_the_levels_are_an_error():
    with pytest.raises(UserError, match="0 to 7"):
        histogram(np.array([3, 8]), levels=8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_clahe_raises_local_contrast_and_keeps_the_dtype(dtype):
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 200, 128)[None, :] + rng.normal(0, 3, (128, 128))
    image = np.clip(ramp, 0, 255).astype(dtype)
    out = clahe(image, clip_limit=0.05)
    assert out.dtype == dtype
    assert out.shape == image.shape
    before = image[:, 60:68].astype(float).std() / np.ptp(image.astype(float))
    after = out[:, 60:68].astype(float).std() / np.ptp(out.astype(float))
    assert after > 1.5 * before
