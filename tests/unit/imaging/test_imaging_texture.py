"""Co-occurrence: the worked matrices of section 4, scikit-image's results, masks."""

import numpy as np
import pytest
from skimage.feature import graycomatrix, graycoprops

from medzoo.errors import UserError
from medzoo.imaging.texture import HARALICK13, glcm, glcm_properties, haralick, quantise, texture_properties

I = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 2, 2, 2], [2, 2, 3, 3]])  # noqa: E741
A = np.array([[2, 7, 1, 4, 6], [3, 2, 3, 1, 4], [5, 5, 5, 8, 9], [5, 7, 4, 9, 8], [1, 2, 7, 5, 5]])


def test_the_worked_counts():
    counts = glcm(I, levels=4, angles=(0, 90))
    assert counts[0].tolist() == [[4, 2, 1, 0], [2, 4, 0, 0], [1, 0, 6, 1], [0, 0, 1, 2]]
    assert counts[1].tolist() == [[6, 0, 2, 0], [0, 4, 2, 0], [2, 2, 2, 2], [0, 0, 2, 0]]


def test_the_worked_properties():
    values = glcm_properties(glcm(I, levels=4))
    expected = {
        "contrast": 0.583333,
        "asm": 0.145833,
        "correlation": 0.719533,
        "idm": 0.808333,
        "entropy": 2.094729,
    }
    for name, value in expected.items():
        assert values[name][0] == pytest.approx(value, abs=1e-6)
    assert values["entropy"][0] / np.log(2) == pytest.approx(3.022055, abs=1e-6)
    for name, value in {"asm": 0.13754, "contrast": 0.95139, "correlation": 0.52583}.items():
        assert values[name].mean() == pytest.approx(value, abs=1e-5)


def test_the_matrix_of_the_slides():
    values = glcm_properties(glcm(A, levels=10, angles=(0,)))
    for name, value in {"contrast": 8.4, "asm": 0.05625, "correlation": 0.295302, "idm": 0.342121}.items():
        assert values[name][0] == pytest.approx(value, abs=1e-6)


def test_the_checkerboard():
    values = glcm_properties(glcm(np.indices((8, 8)).sum(axis=0) % 2, levels=2, angles=(0,)))
    assert [values[n][0] for n in ("contrast", "asm", "correlation")] == pytest.approx([1, 0.5, -1], abs=1e-12)


@pytest.mark.parametrize("distance", [1, 3])
def test_a_batch_equals_scikit_image(distance):
    regions = np.random.default_rng(0).integers(0, 32, (20, 24, 31)).astype(np.uint8)
    regions[0] = 5  # one level only: correlation 1, entropy 0
    counts = glcm(regions, levels=32, distance=distance)
    values = glcm_properties(counts)
    for name, value in texture_properties(regions, levels=32, distance=distance).items():
        np.testing.assert_allclose(value, values[name], atol=1e-14)
    names = {"asm": "ASM", "contrast": "contrast", "correlation": "correlation", "idm": "homogeneity",
             "entropy": "entropy"}  # fmt: skip
    # scikit-image rounds the diagonal steps of a distance, so its angles are asked at that length.
    for k, region in enumerate(regions):
        straight = graycomatrix(region, [distance], [0, np.pi / 2], 32, symmetric=True, normed=True)
        diagonal = graycomatrix(
            region, [distance * np.sqrt(2)], [3 * np.pi / 4, np.pi / 4], 32, symmetric=True, normed=True
        )
        for ours, theirs in names.items():
            a, b = graycoprops(straight, theirs)[0], graycoprops(diagonal, theirs)[0]
            np.testing.assert_allclose(values[ours][k], [a[0], b[0], a[1], b[1]], atol=1e-10, rtol=0)


def test_only_pairs_inside_the_mask_count():
    mask = np.zeros((9, 9), bool)
    mask[2:6, 3:7] = True
    canvas = np.random.default_rng(0).integers(0, 4, (9, 9))
    canvas[2:6, 3:7] = I
    np.testing.assert_array_equal(glcm(canvas, levels=4, mask=mask), glcm(I, levels=4))
    values = np.where(mask, canvas * 10.0, 1e6)
    np.testing.assert_array_equal(quantise(values, levels=4, mask=mask)[mask], canvas[mask])


def test_haralick_on_an_independent_and_on_a_diagonal_matrix():
    uniform = {k: float(v) for k, v in haralick(np.ones((4, 4))).items()}
    assert tuple(uniform) == HARALICK13
    assert uniform["entropy"] == pytest.approx(np.log(16))
    assert uniform["sum_average"] == pytest.approx(5.0)
    assert uniform["variance"] == pytest.approx(1.25)
    assert uniform["sum_variance"] == pytest.approx(2.5)
    assert uniform["difference_variance"] == pytest.approx(2.5 - 1.25**2)
    assert uniform["information_1"] == pytest.approx(0, abs=1e-12)
    assert uniform["information_2"] == pytest.approx(0, abs=1e-6)
    diagonal = {k: float(v) for k, v in haralick(np.eye(4)).items()}
    assert diagonal["information_1"] == pytest.approx(-1)
    assert diagonal["information_2"] == pytest.approx(np.sqrt(1 - 4.0**-2))
    assert diagonal["sum_variance"] == pytest.approx(5.0)
    assert diagonal["sum_entropy"] == pytest.approx(np.log(4))
    assert diagonal["difference_entropy"] == pytest.approx(0, abs=1e-12)
    assert diagonal["correlation"] == pytest.approx(1)


def test_bad_input_is_named():
    with pytest.raises(UserError, match="constant"):
        quantise(np.ones((5, 5)))
    with pytest.raises(UserError, match="mask is empty"):
        quantise(I, mask=np.zeros((4, 4)))
    with pytest.raises(UserError, match="0 to 3"):
        glcm(I + 1, levels=4)
    with pytest.raises(UserError, match="no pair"):
        glcm_properties(glcm(I, levels=4, mask=np.eye(4) * 0))
    with pytest.raises(UserError, match="0, 45, 90, 135"):
        glcm(I, levels=4, angles=(30,))
