"""Feature groups by name, on drawn masses and on bad input."""

import numpy as np
import pytest

from medzoo.errors import UserError
from medzoo.imaging.contour import trace
from medzoo.imaging.features import GROUPS, feature_names, features, features_of_contour
from medzoo.imaging.shape import SHAPE15, shape_features

ALL = tuple(GROUPS)


def scene(centre=(70, 60), radius=25, sharp=True, shadow=False, seed=0):
    """A dark round mass on brighter speckle: (image uint8, mask)."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((128, 150))
    far = np.hypot(x - centre[0], y - centre[1])
    mask = far <= radius
    inside = mask.astype(float) if sharp else 1 / (1 + np.exp((far - radius) / 4))
    image = 150 - 90 * inside + rng.normal(0, 12, mask.shape)
    if shadow:
        image[(np.abs(x - centre[0]) < radius / 2) & (y > centre[1] + radius)] -= 60
    return np.clip(image, 0, 255).astype(np.uint8), mask


def named(image, mask, groups=ALL, **options):
    return dict(zip(feature_names(groups), features(image, mask, groups=groups, **options), strict=True))


def test_names_follow_the_groups():
    assert feature_names(["shape15"]) == SHAPE15
    assert feature_names(["size", "shape15"])[4:] == SHAPE15
    names = feature_names(ALL)
    assert len(set(names)) == len(names)
    image, mask = scene()
    row = features(image, mask, groups=ALL)
    assert row.shape == (len(names),)
    assert np.isfinite(row).all()


def test_shape15_is_the_shape_room():
    image, mask = scene()
    expected = list(shape_features(trace(mask), mask).values())
    np.testing.assert_array_equal(features(image, mask, groups=["shape15"]), expected)


def test_size_is_in_the_unit_of_the_spacing():
    image, mask = scene(radius=25)
    size = named(image, mask, ["size"], spacing=(0.5, 0.5))
    assert size["area"] == pytest.approx(np.pi * 12.5**2, rel=0.02)
    assert size["equivalent_diameter"] == pytest.approx(25, rel=0.02)
    assert size["max_diameter"] == pytest.approx(25, rel=0.04)


def test_of_several_masses_the_largest_is_classified():
    image, mask = scene()
    untidy = mask.copy()
    untidy[:5, :5] = True
    np.testing.assert_array_equal(features(image, untidy, groups=ALL), features(image, mask, groups=ALL))


def test_a_mass_at_the_border_is_predicted():
    image, mask = scene(centre=(5, 125))
    assert np.isfinite(features(image, mask, groups=ALL)).all()


def test_the_whole_image_as_a_mass_is_classified():
    image, mask = scene()
    assert np.isfinite(features(image, np.ones_like(mask), groups=ALL)).all()


def test_colour_counts_by_its_luma():
    image, mask = scene()
    colour = features(np.stack([image] * 3), mask, groups=ALL)
    np.testing.assert_array_equal(colour, features(image, mask, groups=ALL))


def test_margin_and_echo_read_the_picture():
    sharp, soft = named(*scene()), named(*scene(sharp=False))
    assert sharp["margin_acutance"] > soft["margin_acutance"] > 0
    assert sharp["margin_abrupt"] > 1.5 * soft["margin_abrupt"]
    assert sharp["margin_width"] < soft["margin_width"]
    assert sharp["echo_contrast"] > 1
    dark = named(*scene(shadow=True))
    assert dark["echo_shadow"] < sharp["echo_shadow"] - 0.5


def test_outline_numbers_of_a_disk_and_a_bar():
    t = 2 * np.pi * np.arange(512) / 512
    circle = np.stack([np.cos(t), np.sin(t)], axis=1)
    names = feature_names(["outline"])
    round_ = dict(zip(names, features_of_contour(circle, groups=["outline"]), strict=True))
    assert round_["circularity"] == pytest.approx(1, abs=1e-3)
    assert round_["solidity"] == pytest.approx(1, abs=1e-3)
    assert round_["elongation"] == pytest.approx(1, abs=1e-3)
    tall = dict(zip(names, features_of_contour(circle * [1, 3], groups=["outline"]), strict=True))
    assert tall["height_over_width"] == pytest.approx(3, rel=1e-3)
    assert tall["circularity"] < 0.8


def test_a_contour_alone_has_no_texture():
    t = 2 * np.pi * np.arange(64) / 64
    contour = np.stack([np.cos(t), np.sin(t)], axis=1)
    row = features_of_contour(contour * 7, groups=["shape15", "size"])
    assert row[feature_names(["shape15", "size"]).index("area")] == pytest.approx(49 * np.pi, rel=0.01)
    with pytest.raises(UserError, match="need an image"):
        features_of_contour(contour, groups=["glcm"])


def test_bad_input_is_named():
    image, mask = scene()
    with pytest.raises(UserError, match="mask is empty"):
        features(image, np.zeros_like(mask), groups=ALL)
    with pytest.raises(UserError, match="150 x 127 but its image is 150 x 128"):
        features(image, mask[1:], groups=ALL)
    with pytest.raises(UserError, match="constant"):
        features(np.full_like(image, 9), mask, groups=["grey"])
    with pytest.raises(UserError, match="constant"):
        features(np.full_like(image, 9), mask, groups=["glcm"])
    with pytest.raises(UserError, match="'wavelet' is not a group"):
        feature_names(["wavelet"])
    dot = np.zeros_like(mask)
    dot[60, 60] = True
    with pytest.raises(UserError, match="too short"):
        features(image, dot, groups=["shape15"])
