"""Features of a body that is known by the outlines of its slices: size, form in space, and form of the slices.

Knows medzoo.errors and the other files of this room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medzoo.errors import UserError
from medzoo.imaging.contour import contour_area, contour_length, resample
from medzoo.imaging.outline import OUTLINE, outline_features
from medzoo.imaging.shape import SHAPE15, chord_lengths, shape_features
from medzoo.types import Array

POINTS = 128  # of each slice: nodules are small, and more points would only follow the pixels' stairs
FORM = (
    "sphericity", "flatness", "elongation_3d", "height_over_diameter", "spiculation", "area_variation", "tapering",
    "centre_drift", "compactness_widest", "roughness_spread",
)  # fmt: skip
SOLID_SIZE = ("volume", "diameter", "equivalent_diameter", "height", "slices", "widest_area")
_SHAPE = tuple(f"slices_{name}" for name in (*SHAPE15, *OUTLINE))
_WIDEST = tuple(f"widest_{name}" for name in (*SHAPE15, *OUTLINE))


@dataclass(frozen=True, eq=False)
class Solid:
    """Outlines of one body: `levels` (S,) rising in millimetres, `contours` S arrays (POINTS, 2) of x, y in
    millimetres, `thickness`: millimetres between slices."""

    levels: Array
    contours: tuple[Array, ...]
    thickness: float

    @classmethod
    def of(cls, outlines: Sequence[tuple[float, Array]], *, thickness: float | None = None) -> Solid:
        """Build a solid from (z, (N, 2)) outlines in any order; of several on one slice the largest counts.

        `thickness`: used where there is one slice alone, whose thickness cannot be seen; without it the
        slice counts as thick as it is wide. Outlines of fewer than 8 points are left out where others
        remain. Raises UserError if none has 8 points and an area.
        """
        largest: dict[float, Array] = {}
        shortest = 0
        for z, points in outlines:
            points = np.asarray(points, np.float64)
            if len(points) < 8 or contour_area(points) == 0:
                shortest = max(shortest, len(points))
                continue
            if z not in largest or contour_area(points) > contour_area(largest[z]):
                largest[z] = points
        if not largest:
            raise UserError(f"a contour of {shortest} points is too short or has no area", hint="it takes at least 8")
        levels = np.array(sorted(largest))
        contours = tuple(resample(largest[z], points=POINTS) for z in levels)
        if len(levels) > 1:
            thickness = float(np.median(np.diff(levels)))
        elif thickness is None:
            thickness = 2 * float(np.sqrt(contour_area(contours[0]) / np.pi))
        return cls(levels, contours, thickness)

    @cached_property
    def areas(self) -> Array:
        """(S,) square millimetres."""
        return np.array([contour_area(c) for c in self.contours])

    @cached_property
    def volume(self) -> float:
        """Cubic millimetres: the sum of slices."""
        return float(self.areas.sum()) * self.thickness

    @cached_property
    def widest(self) -> int:
        """The slice of the largest area."""
        return int(self.areas.argmax())

    @cached_property
    def diameter(self) -> float:
        """The longest chord of any slice in millimetres."""
        return max(float(chord_lengths(c).max()) for c in self.contours)


def size_of_solid(solid: Solid) -> dict[str, float]:
    """Volume (mm3), longest chord, diameter of the ball of that volume, height (mm), slices, widest area (mm2)."""
    values = (
        solid.volume,
        solid.diameter,
        float(np.cbrt(6 * solid.volume / np.pi)),
        len(solid.levels) * solid.thickness,
        float(len(solid.levels)),
        float(solid.areas.max()),
    )
    return dict(zip(SOLID_SIZE, values, strict=True))


def form_of_solid(solid: Solid) -> dict[str, float]:
    """Ten numbers of the form in space that do not grow with the body.

    sphericity: pi^(1/3) (6 V)^(2/3) / A, with A the sides of the slices and the steps between them
    (Wadell, 1935); flatness, elongation_3d: roots of the ratios of the smallest and the middle to the largest
    variance of the outlines' points; height_over_diameter; spiculation: mean over slices, by area, of the
    spread of the radial distance left by a smooth outline (harmonics to 3); area_variation: standard
    deviation of the areas over their mean; tapering: mean of the end slices' areas over the widest;
    centre_drift: standard deviation of the slices' centres over the diameter; compactness_widest: 4 pi A / P^2
    of the widest slice; roughness_spread: how much spiculation differs between slices.
    """
    areas, contours = solid.areas, solid.contours
    sides = sum(contour_length(c) for c in contours) * solid.thickness
    steps = areas[0] + areas[-1] + float(np.abs(np.diff(areas)).sum())
    centres = np.stack([c.mean(axis=0) for c in contours])
    points = np.concatenate([
        np.column_stack([c, np.full(len(c), z)])
        for z, c in zip(solid.levels, contours, strict=True)
    ])  # fmt: skip
    variances = np.sort(np.linalg.eigvalsh(np.cov(points.T) + np.diag([0.0, 0.0, solid.thickness**2 / 12])))
    spikes = np.array([_spikes(c) for c in contours])
    widest = contours[solid.widest]
    return {
        "sphericity": float(np.pi ** (1 / 3) * (6 * solid.volume) ** (2 / 3) / (sides + steps)),
        "flatness": float(np.sqrt(max(variances[0], 0.0) / variances[2])),
        "elongation_3d": float(np.sqrt(max(variances[1], 0.0) / variances[2])),
        "height_over_diameter": len(contours) * solid.thickness / solid.diameter,
        "spiculation": float(np.average(spikes, weights=areas)),
        "area_variation": float(areas.std() / areas.mean()),
        "tapering": float((areas[0] + areas[-1]) / 2 / areas.max()),
        "centre_drift": float(np.sqrt(centres.var(axis=0).sum())) / solid.diameter,
        "compactness_widest": 4 * np.pi * float(areas.max()) / contour_length(widest) ** 2,
        "roughness_spread": float(spikes.std()),
    }


def slices_of_solid(solid: Solid) -> dict[str, float]:
    """The fifteen shape features and the outline's ten, averaged over the slices by their area."""
    rows = np.array([_slice(c) for c in solid.contours])
    return dict(zip(_SHAPE, map(float, np.average(rows, axis=0, weights=solid.areas)), strict=True))


def widest_of_solid(solid: Solid) -> dict[str, float]:
    """The fifteen shape features and the outline's ten of the widest slice."""
    return dict(zip(_WIDEST, _slice(solid.contours[solid.widest]), strict=True))


SOLID_GROUPS = {
    "size": (SOLID_SIZE, size_of_solid),
    "form": (FORM, form_of_solid),
    "slices": (_SHAPE, slices_of_solid),
    "widest": (_WIDEST, widest_of_solid),
}


def solid_names(groups: Sequence[str]) -> tuple[str, ...]:
    """Names of the features of some groups, in the order of `solid_features`. Raises UserError."""
    unknown = [name for name in groups if name not in SOLID_GROUPS]
    if unknown:
        raise UserError(f"{unknown[0]!r} is not a group of features", "groups", f"there are {', '.join(SOLID_GROUPS)}")
    return tuple(name for group in groups for name in SOLID_GROUPS[group][0])


def solid_features(solid: Solid, *, groups: Sequence[str]) -> Array:
    """(F,) float64 in the order of `solid_names`. Raises UserError naming a feature that is not finite."""
    names = solid_names(groups)
    values = {name: value for group in groups for name, value in SOLID_GROUPS[group][1](solid).items()}
    for name in names:
        if not np.isfinite(values[name]):
            raise UserError(f"the feature {name} is not finite", name, "the outlines are degenerate")
    return np.array([values[name] for name in names])


def _slice(contour: Array) -> list[float]:
    return [*shape_features(contour).values(), *outline_features(contour).values()]


def _spikes(contour: Array) -> float:
    distance = np.hypot(*(contour - contour.mean(axis=0)).T)
    spectrum = np.abs(np.fft.rfft(distance / distance.mean())) / len(distance)
    return float(np.sqrt(2 * (spectrum[4:] ** 2).sum()))
