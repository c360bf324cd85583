"""From an image with an outline, a box or neither to a row of features, and from outlines alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medzoo.errors import UserError
from medzoo.imaging.features import feature_names, features
from medzoo.preprocess.extras import MASS_HINT, Mass, MassHint, mass
from medzoo.preprocess.steps import apply_steps, parse_steps
from medzoo.types import Array, Image

GROUPS = ["shape15", "size", "grey"]


def scene(shape: tuple[int, int] = (120, 150), *, source: str = "made.png") -> tuple[Image, Array]:
    """A dark ellipse in bright speckle, and its mask."""
    rng = np.random.default_rng(0)
    y, x = np.indices(shape)
    mask = ((y - 55) / 20) ** 2 + ((x - 70) / 30) ** 2 <= 1
    picture = np.where(mask, 60, 150) + rng.normal(0, 8, shape)
    return Image(np.clip(picture, 0, 255).astype(np.uint8)[None], source=source), mask


def measure(image: Image, hint: MassHint | None = None, **options: Any) -> tuple[Array, Mass]:
    steps = parse_steps([{"op": "features", "groups": GROUPS, **options}])
    state = apply_steps(image, steps, extras={MASS_HINT: hint or MassHint()})
    measured = mass(state.extras)
    assert measured is not None
    return state.image.array, measured


def test_a_given_outline_is_the_one_that_is_measured() -> None:
    image, mask = scene()
    vector, measured = measure(image, MassHint(mask=mask))
    assert measured.outline == "given"
    assert np.allclose(vector, features(image.array[0], mask, groups=GROUPS))
    assert tuple(measured.features) == feature_names(GROUPS)
    assert measured.mask is not None
    assert np.array_equal(measured.mask, mask)
    assert measured.size == pytest.approx(2 * np.sqrt(mask.sum() / np.pi))


@pytest.mark.parametrize("box", [None, (35.0, 30.0, 106.0, 81.0)])
def test_without_an_outline_the_mass_is_found_and_the_result_says_how(box: Any) -> None:
    image, mask = scene()
    _, measured = measure(image, MassHint(box=box))
    assert measured.outline == ("found" if box is None else "box")
    assert measured.mask is not None
    assert 2 * (measured.mask & mask).sum() / (measured.mask.sum() + mask.sum()) > 0.85


def test_the_flag_tells_a_given_outline_from_a_found_one() -> None:
    image, mask = scene()
    assert measure(image, MassHint(mask=mask), flag=True)[0][-1] == 1
    vector, measured = measure(image, flag=True)
    assert vector[-1] == 0
    assert list(measured.features)[-1] == "outline_given"


def test_the_outline_follows_a_crop_and_comes_back_on_the_source_grid() -> None:
    image, mask = scene()
    padded = np.zeros((1, 160, 200), np.uint8)
    padded[:, 25:145, 30:180] = np.maximum(image.array, 1)
    moved = np.zeros((160, 200), bool)
    moved[25:145, 30:180] = mask
    steps = parse_steps([{"op": "crop-foreground"}, {"op": "features", "groups": ["shape15"]}])
    state = apply_steps(Image(padded), steps, extras={MASS_HINT: MassHint(mask=moved)})
    measured = mass(state.extras)
    assert measured is not None
    assert measured.mask is not None
    assert np.array_equal(measured.mask, moved)
    assert np.allclose(state.image.array, features(image.array[0], mask, groups=["shape15"]))


def test_several_masses_and_the_border_are_predicted_with_a_note() -> None:
    image, mask = scene()
    mask = mask.copy()
    mask[0:3, 0:4] = True
    _, measured = measure(image, MassHint(mask=mask))
    assert "2 masses" in measured.notes[0]
    cut = np.zeros_like(mask)
    cut[40:70, :30] = True
    assert "border" in measure(image, MassHint(mask=cut))[1].notes[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda image, mask: (image, np.zeros_like(mask)), r"made\.png.*empty"),
        (lambda image, mask: (image, mask[:50]), r"made\.png.*150 x 50.*150 x 120"),
        (lambda image, mask: (image.replace(array=np.full_like(image.array, 9)), mask), r"made\.png.*constant"),
        (lambda image, mask: (image.replace(array=np.full_like(image.array, 9)), None), r"made\.png.*constant"),
    ],
)
def test_what_cannot_be_measured_is_named(change: Any, words: str) -> None:
    image, mask = change(*scene())
    with pytest.raises(UserError, match=words):
        measure(image, MassHint(mask=mask))


def test_an_unknown_group_is_a_fault_of_the_recipe() -> None:
    with pytest.raises(UserError, match=r"preprocess\.host\[0\]\.groups.*'shape16'"):
        parse_steps([{"op": "features", "groups": ["shape16"]}])


OUTLINES = [{"op": "outline-features", "groups": ["size", "form"]}]


def ball(radius: float = 10.0, spacing: float = 1.0) -> Image:
    """A mask volume of a ball, radius in millimetres."""
    n = int(2 * radius / spacing) + 9
    grid = (np.indices((n, n, n)) - n // 2) * spacing
    mask = (grid**2).sum(axis=0) <= radius**2
    return Image(mask[None].astype(np.uint8), np.diag([spacing, spacing, spacing, 1.0]), "ball.nii.gz")


def test_a_mask_volume_of_a_ball_has_a_balls_measures() -> None:
    measured = mass(apply_steps(ball(), parse_steps(OUTLINES)).extras)
    assert measured is not None
    assert measured.features["volume"] == pytest.approx(4 / 3 * np.pi * 1000, rel=0.03)
    assert measured.features["diameter"] == pytest.approx(20, rel=0.05)
    assert measured.features["compactness_widest"] == pytest.approx(1, abs=0.2)  # voxels make stairs
    assert measured.outline == "given"


def test_form_does_not_change_with_size_or_voxels() -> None:
    form = [{"op": "outline-features", "groups": ["form"]}]
    one = apply_steps(ball(10, 1.0), parse_steps(form)).image
    two = apply_steps(ball(20, 2.0), parse_steps(form)).image
    assert np.allclose(one.array, two.array, atol=1e-9)


def test_contours_are_taken_as_they_are_and_readers_are_averaged() -> None:
    t = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    circle = np.column_stack([np.cos(t), np.sin(t)])
    blank = Image(
        np.ones((1, 4, 4), np.uint8), None, "nodule", {"outlines_mm": {1: [(0.0, 5 * circle), (2.0, 5 * circle)]}}
    )
    prepared = apply_steps(blank, parse_steps(OUTLINES)).image
    assert prepared.array[0] == pytest.approx(2 * 2 * np.pi * 25, rel=0.01)
    other = {"outlines_mm": {1: [(0.0, 5 * circle)], 2: [(0.0, 7 * circle)]}}
    both = apply_steps(blank.replace(meta=other), parse_steps(OUTLINES)).image
    assert both.array[1] == pytest.approx(12, rel=0.01)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (Image(np.zeros((1, 20, 20), np.uint8), source="m.png"), r"m\.png: the mask is empty"),
        (Image(np.arange(400, dtype=np.uint16).reshape(1, 20, 20), source="m.png"), r"m\.png: is not a mask"),
        (
            Image(np.ones((1, 2, 2), np.uint8), None, "c.csv", {"outlines_mm": {0: [(0.0, np.zeros((5, 2)))]}}),
            "5 points",
        ),
    ],
)
def test_outlines_that_cannot_be_measured_are_named(image: Image, words: str) -> None:
    with pytest.raises(UserError, match=words):
        apply_steps(image, parse_steps(OUTLINES))
