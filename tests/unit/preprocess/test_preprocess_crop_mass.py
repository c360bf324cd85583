"""The square around a mass: from an outline, from a box, or looked for; and the way back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medzoo.errors import UserError
from medzoo.preprocess.extras import MASS_HINT, MassHint, mass
from medzoo.preprocess.host.crop_mass import CropMass
from medzoo.preprocess.step import StepState
from medzoo.preprocess.steps import apply_steps
from medzoo.types import Image


def picture() -> tuple[Image, np.ndarray]:
    """A dark ellipse, columns 60 to 99 and rows 40 to 59, on bright noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:120, :160]
    mask = ((x - 79.5) / 20) ** 2 + ((y - 49.5) / 10) ** 2 <= 1
    array = np.where(mask, 40, 160) + rng.integers(-8, 8, mask.shape)
    return Image(array[None].astype(np.uint8), None, "made.png"), mask


def crop(image: Image, *, context: float = 0.25, **hint: Any) -> StepState:
    return apply_steps(image, [CropMass(context=context)], extras={MASS_HINT: MassHint(**hint)})


def test_outline_gives_the_square_with_its_context() -> None:
    image, mask = picture()
    state = crop(image, mask=mask)
    cropped, transform = state.image, state.transform
    assert cropped.shape == (60, 60)  # 40 wide, a quarter of that on both sides
    assert np.array_equal(cropped.array, image.array[:, 20:80, 50:110])
    assert transform.boxes_to_source(np.array([[0.0, 0, 60, 60]])).tolist() == [[50, 20, 110, 80]]
    found = mass(state.extras)
    assert found is not None
    assert found.outline == "given"
    assert found.mask is not None
    assert np.array_equal(found.mask, mask)


def test_box_and_search_lead_to_about_the_same_place() -> None:
    image, _ = picture()
    boxed = crop(image, box=(60, 40, 100, 60)).image
    assert np.array_equal(boxed.array, image.array[:, 20:80, 50:110])
    state = crop(image)
    found, transform = state.image, state.transform
    x0, y0, x1, y1 = transform.boxes_to_source(np.array([[0.0, 0, found.shape[1], found.shape[0]]]))[0]
    assert abs(x0 - 50) <= 6
    assert abs(x1 - 110) <= 6
    assert abs(y0 - 20) <= 6
    assert abs(y1 - 80) <= 6


def test_a_mass_at_the_border_leaves_out_what_there_is_not() -> None:
    image, _ = picture()
    cropped = crop(image, context=0.5, box=(0, 0, 20, 40)).image
    assert np.array_equal(cropped.array, image.array[:, :60, :50])


def test_a_mask_of_another_size_or_without_a_mass_is_refused() -> None:
    image, mask = picture()
    with pytest.raises(UserError, match=r"made\.png: the mask is 159 x 120 but its image is 160 x 120"):
        crop(image, mask=mask[:, 1:])
    with pytest.raises(UserError, match=r"made\.png"):
        crop(image, mask=np.zeros_like(mask))
