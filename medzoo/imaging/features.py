"""Feature groups by name, from an image and a mask to one row of numbers for a classifier.

Knows medzoo.errors and the other files of this room.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medzoo.boxes import bounding_box
from medzoo.errors import UserError
from medzoo.imaging.contour import (
    check_contour,
    contour_area,
    contour_length,
    resample,
    single_component,
    trace,
)  # fmt: skip
from medzoo.imaging.grey import FIRST_ORDER, first_order, luma
from medzoo.imaging.outline import OUTLINE, outline_features
from medzoo.imaging.shape import SHAPE15, chord_lengths, shape_features
from medzoo.imaging.surround import ECHO, MARGIN, echo_features, margin_features
from medzoo.imaging.texture import HARALICK13, PROPERTIES, glcm, glcm_properties, haralick, quantise
from medzoo.types import Array

LEVELS = 32
SIZE = ("area", "perimeter", "equivalent_diameter", "max_diameter")


@dataclass(frozen=True, eq=False)
class Mass:
    """One mass: its outline (N, 2) in pixels, and its mask and grey image (H, W) where there are any."""

    contour: Array
    mask: Array | None
    image: Array | None
    spacing: tuple[float, float]

    @property
    def pixels(self) -> tuple[Array, Array]:
        """Image and mask. Raises UserError where the mass is an outline alone."""
        if self.image is None or self.mask is None:
            raise UserError("these features need an image", "groups", "an outline alone has none")
        return self.image, self.mask

    @cached_property
    def scaled(self) -> Array:
        """The outline in the unit of the spacing."""
        scaled: Array = self.contour * np.array([self.spacing[1], self.spacing[0]])
        return scaled

    @cached_property
    def cooccurrence(self) -> Array:
        """(4, L, L) counts of grey-level pairs inside the mass, quantised there."""
        image, mask = self.pixels
        crop = bounding_box(mask)
        assert crop is not None
        inside = mask[crop]
        return glcm(quantise(image[crop], levels=LEVELS, mask=inside), levels=LEVELS, mask=inside)


def _shape15(mass: Mass) -> dict[str, float]:
    return shape_features(mass.contour, mass.mask, spacing=mass.spacing)


def _size(mass: Mass) -> dict[str, float]:
    """Area (of the mask if any), perimeter, diameter of the disk of that area, longest chord."""
    area = contour_area(mass.scaled)
    if mass.mask is not None:
        area = float(mass.mask.sum()) * mass.spacing[0] * mass.spacing[1]
    values = (area, contour_length(mass.scaled), 2 * np.sqrt(area / np.pi), chord_lengths(mass.scaled).max())
    return dict(zip(SIZE, map(float, values), strict=True))


def _glcm(mass: Mass) -> dict[str, float]:
    """The five properties, each the mean over four angles and the range between them."""
    values = glcm_properties(mass.cooccurrence)
    out = {f"glcm_{name}": float(v.mean()) for name, v in values.items()}
    return out | {f"glcm_{name}_range": float(np.ptp(v)) for name, v in values.items()}


def _haralick(mass: Mass) -> dict[str, float]:
    return {f"haralick_{name}": float(v.mean()) for name, v in haralick(mass.cooccurrence).items()}


def _grey(mass: Mass) -> dict[str, float]:
    return {f"grey_{k}": v for k, v in first_order(*mass.pixels, bins=LEVELS).items()}


def _outline(mass: Mass) -> dict[str, float]:
    return outline_features(mass.scaled)


def _margin(mass: Mass) -> dict[str, float]:
    return margin_features(mass.pixels[0], mass.contour)


def _echo(mass: Mass) -> dict[str, float]:
    return echo_features(*mass.pixels)


@dataclass(frozen=True)
class _Group:
    names: tuple[str, ...]
    compute: Callable[[Mass], dict[str, float]]


GROUPS: dict[str, _Group] = {
    "shape15": _Group(SHAPE15, _shape15),
    "outline": _Group(OUTLINE, _outline),
    "size": _Group(SIZE, _size),
    "glcm": _Group(tuple(f"glcm_{n}" for n in PROPERTIES) + tuple(f"glcm_{n}_range" for n in PROPERTIES), _glcm),
    "haralick": _Group(tuple(f"haralick_{n}" for n in HARALICK13), _haralick),
    "grey": _Group(tuple(f"grey_{n}" for n in FIRST_ORDER), _grey),
    "margin": _Group(MARGIN, _margin),
    "echo": _Group(ECHO, _echo),
}


def feature_names(groups: Sequence[str]) -> tuple[str, ...]:
    """Names of the features of some groups, in the order in which `features` gives them.

    Raises UserError for a group that does not exist.
    """
    return tuple(name for group in groups for name in _group(group).names)


def features(image: Array, mask: Array, *, groups: Sequence[str], spacing: tuple[float, float] = (1.0, 1.0)) -> Array:
    """The features (F,) float64 of the mass that `mask` (H, W) marks in `image`, in `feature_names` order.

    image: (H, W), or colour, which counts by its luma. Of several masses the largest counts; a mass at
    the border is closed along it (`single_component` says which of these happened). spacing: height and width of
    a pixel. Raises UserError for an empty mask, a mask of another size, an image that is constant inside
    the mask, an outline of fewer than 8 points, and a feature that is not finite, by its name.
    """
    grey = luma(image)
    mask, _ = single_component(mask, shape=grey.shape)
    return _row(Mass(trace(mask), mask, grey.astype(np.float64), spacing), groups)


def features_of_contour(contour: Array, *, groups: Sequence[str]) -> Array:
    """The features (F,) of an outline alone: (N, 2), x and y in any unit, resampled by arc length.

    Raises UserError for a group that needs an image, and as `features` does.
    """
    return _row(Mass(resample(check_contour(contour)), None, None, (1.0, 1.0)), groups)


def _row(mass: Mass, groups: Sequence[str]) -> Array:
    named: list[tuple[str, float]] = []
    for group in groups:
        values = _group(group).compute(mass)
        named.extend((name, values[name]) for name in _group(group).names)
    for name, value in named:
        if not np.isfinite(value):
            raise UserError(f"the feature {name} is not finite", name, "the mass is degenerate")
    return np.array([value for _, value in named])


def _group(name: str) -> _Group:
    if name not in GROUPS:
        raise UserError(f"{name!r} is not a group of features", "groups", f"there are {', '.join(GROUPS)}")
    return GROUPS[name]
