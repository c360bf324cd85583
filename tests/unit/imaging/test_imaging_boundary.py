"""The boundary of a mass: drawn ones of either polarity, untidy ones, real ones."""

from typing import get_args

import numpy as np
import pytest

from medzoo.errors import UserError
from medzoo.imaging.boundary import Method, boundary_of_mask, find_boundary

METHODS = get_args(Method)


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def scene(contrast=0.4, centre=(256, 256), radii=(200, 200), shape=(513, 513), noise=0.05):
    y, x = np.indices(shape)
    mask = ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 <= 1
    return 0.5 + contrast * (mask - 0.5) + np.random.default_rng(0).normal(0, noise, shape), mask


@pytest.mark.parametrize("contrast", [0.4, -0.4])
@pytest.mark.parametrize("method", METHODS)
def test_the_disk_of_radius_200(method, contrast):
    image, mask = scene(contrast)
    found = find_boundary(image, method=method)
    assert found.outline == "found"
    assert dice(found.mask, mask) > 0.995
    assert found.contour.shape == (256, 2)
    assert np.hypot(*(found.contour - 256).T).mean() == pytest.approx(200, abs=2)


@pytest.mark.parametrize("method", METHODS)
def test_a_seed_chooses_among_masses(method):
    left, one = scene(-0.4, (60, 80), (35, 25), (160, 240))
    right, other = scene(-0.4, (170, 80), (40, 45), (160, 240))
    image = np.minimum(left, right)
    for seed, mask in (((60, 80), one), ((170, 80), other)):
        assert dice(find_boundary(image, method=method, seed=seed).mask, mask) > 0.93


@pytest.mark.parametrize("method", METHODS)
def test_a_box_chooses_and_bounds(method):
    left, one = scene(-0.4, (60, 80), (35, 25), (160, 240))
    right, _ = scene(-0.4, (170, 80), (40, 45), (160, 240))
    found = find_boundary(np.minimum(left, right), method=method, box=(23, 53, 98, 108))
    assert dice(found.mask, one) > 0.93
    assert found.outline == "found"
    assert not found.mask[:, 98:].any()


def test_nothing_found_the_box_or_the_image_stands_in():
    ramp = np.tile(np.linspace(0, 1, 80), (60, 1))
    alone = find_boundary(ramp)
    assert alone.outline == "box"
    assert alone.mask.all()
    assert alone.notes[0] == "no outline found: the whole image stands in"
    seeded = find_boundary(ramp, seed=(40, 30))
    assert seeded.outline == "box"
    tiny = np.zeros((40, 40))
    tiny[0, 0] = 1
    boxed = find_boundary(tiny, box=(10, 10, 30, 20), method="otsu")
    assert boxed.outline == "box"
    assert boxed.notes == ("no outline found: the box stands in",)
    assert boxed.mask.sum() == 200


def test_a_mass_at_the_border_is_closed_along_it():
    image, mask = scene(-0.4, (0, 80), (60, 50), (160, 240))
    found = find_boundary(image, box=(0, 28, 64, 132))
    assert dice(found.mask, mask) > 0.95
    assert "touches the border" in found.notes[0]
    assert found.contour[:, 0].min() == pytest.approx(-0.5)


def test_colour_counts_by_its_luma():
    image, _ = scene(-0.4, (60, 80), (35, 25), (160, 240))
    grey = np.clip(image * 255, 0, 255).astype(np.uint8)
    colour = find_boundary(np.stack([grey] * 3, axis=-1))
    np.testing.assert_array_equal(colour.mask, find_boundary(grey).mask)


def test_polarity_can_be_given():
    dark, one = scene(-0.4, (60, 80), (35, 25), (160, 240), 0.02)
    bright, other = scene(0.4, (170, 80), (40, 45), (160, 240), 0.02)
    image = dark + bright
    assert dice(find_boundary(image, polarity="dark").mask, one) > 0.95
    assert dice(find_boundary(image, polarity="bright").mask, other) > 0.95


def test_a_given_mask_is_tidied_and_says_so():
    mask = np.zeros((50, 60), bool)
    mask[0:20, 5:30] = True
    mask[40:43, 50:53] = True
    given = boundary_of_mask(mask, shape=(50, 60))
    assert given.outline == "given"
    assert given.notes == (
        "2 masses in the mask: the largest is used",
        "the mass touches the border: its outline is closed along it",
    )
    assert given.mask.sum() == 20 * 25


def test_bad_input_is_named():
    image, _ = scene(-0.4, (60, 80), (35, 25), (160, 240))
    with pytest.raises(UserError, match="constant"):
        find_boundary(np.full((40, 40), 7))
    with pytest.raises(UserError, match="'snake' is not one of otsu"):
        find_boundary(image, method="snake")
    with pytest.raises(UserError, match="outside"):
        find_boundary(image, seed=(500, 10))
    with pytest.raises(UserError, match="covers fewer than 9 pixels"):
        find_boundary(image, box=(300, 10, 320, 40))
    with pytest.raises(UserError, match="60 x 49 but its image is 60 x 50"):
        boundary_of_mask(np.ones((49, 60)), shape=(50, 60))


def test_real_lesions_are_found_without_help(shared_data):
    from PIL import Image

    overlaps = []
    for k in range(1, 16, 2):
        paths = [shared_data / "busi" / "benign" / f"benign ({k}){end}.png" for end in ("", "_mask")]
        if not all(path.exists() for path in paths):
            continue
        image, mask = (np.array(Image.open(path).convert("L")) for path in paths)
        overlaps.append(dice(find_boundary(image).mask, mask > 127))
    assert len(overlaps) >= 5
    assert np.median(overlaps) > 0.6
