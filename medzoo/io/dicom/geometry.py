"""Geometry of DICOM slices and the volumes they form. Positions and directions in LPS millimetres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medzoo.errors import UserError
from medzoo.io.dicom.functional_groups import PER_FRAME, frame_count, frame_value
from medzoo.types import Array

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# A slice may lie this far from its even place (mm, or this share of the step), which rounding explains.
PLACE_MM, PLACE_SHARE = 0.02, 0.02
ORTHONORMAL = 0.01  # of the directions' products, which rounding explains
SPATIAL = ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing")


@dataclass(frozen=True, eq=False)
class Plane:
    """One slice: `turn` (6,) directions of a row and of a column, `position` (3,) of its first pixel, `spacing`
    (2,) between rows and between columns, `size` rows and columns."""

    name: str
    turn: Array
    position: Array
    spacing: Array
    size: tuple[int, int]
    thickness: float

    @property
    def normal(self) -> Array:
        """(3,) direction of rows cross columns."""
        return np.cross(self.turn[:3], self.turn[3:])


def plane_of(dataset: Any, where: str, name: str) -> Plane:
    """Read the geometry of an image of one frame, plain or enhanced. Raises UserError where the header lacks it."""
    values = {key: frame_value(dataset, key) for key in SPATIAL}
    absent = [key for key, value in values.items() if not value]
    if absent:
        raise UserError(f"has no position in space ({', '.join(absent)} missing)", where)
    return _plane(
        name,
        values["ImageOrientationPatient"],
        values["ImagePositionPatient"],
        values["PixelSpacing"],
        dataset,
        frame_value(dataset, "SliceThickness"),
    )


def planes_of(dataset: Any, where: str) -> list[Plane]:
    """Read the geometry of each frame of an enhanced image (PS3.3 C.7.6.16). Raises UserError."""
    frames = dataset.get(PER_FRAME) or []
    if len(frames) != frame_count(dataset):
        raise UserError("has no positions of its frames", where)
    planes = []
    for number in range(len(frames)):
        turn, position, spacing = (frame_value(dataset, key, number) for key in SPATIAL)
        if turn is None or position is None or spacing is None:
            raise UserError(f"has no position of frame {number + 1}", where)
        thickness = frame_value(dataset, "SliceThickness", number)
        planes.append(_plane(f"frame {number + 1}", turn, position, spacing, dataset, thickness))
    return planes


def has_frame_positions(dataset: Any) -> bool:
    """True if an enhanced image states the position of each frame."""
    frames = dataset.get(PER_FRAME) or []
    return bool(frames) and "PlanePositionSequence" in frames[0]


def is_cross_section(dataset: Any) -> bool:
    """True if an image of one frame states its position, so that it is a slice."""
    return all(frame_value(dataset, key) for key in SPATIAL)


def affine_of(first: Plane, step: Array) -> Array:
    """(4, 4) from (column, row, slice) to RAS mm; `step` (3,) leads to the next slice (PS3.3 C.7.6.2.1)."""
    affine = np.eye(4)
    affine[:3, 0] = first.turn[:3] * first.spacing[1]
    affine[:3, 1] = first.turn[3:] * first.spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = first.position
    return np.asarray(LPS_TO_RAS @ affine, float)


def ordered(planes: Sequence[Plane], where: str) -> tuple[list[int], Array]:
    """Numbers of the planes by position along the normal, and the affine (4, 4) of the volume they make.

    Raises UserError for slices that are turned against each other, of other sizes, missing, twice there or
    unevenly spaced, and for a tilted gantry.
    """
    first = planes[0]
    _alike(planes, where)
    normal = first.normal
    places = np.array([plane.position for plane in planes])
    order = np.argsort(places @ normal, kind="stable")
    if len(planes) == 1:
        return [0], affine_of(first, normal * first.thickness)
    places = places[order]
    names = [planes[n].name for n in order]
    along = places @ normal
    gaps = np.diff(along)
    step = float(np.median(gaps))
    room = max(PLACE_MM, PLACE_SHARE * step)
    for k, gap in enumerate(gaps):
        if gap < 1e-3:
            raise UserError(f"two slices have the same position: {names[k]}, {names[k + 1]}", where)
    for k, gap in enumerate(gaps):
        if abs(gap - step) > room:
            pair = f"between {names[k]} and {names[k + 1]}"
            missing = round(gap / step) - 1
            if missing >= 1 and abs(gap - (missing + 1) * step) <= room * (missing + 1):
                raise UserError(f"{missing} of its slices are missing {pair}", where)
            raise UserError(f"its slices are unevenly spaced: {gap:.3f} mm {pair}, else {step:.3f} mm", where)
    drift = places - places[0]
    across = np.linalg.norm(drift - np.outer(drift @ normal, normal), axis=1)
    if across[-1] > max(PLACE_MM, PLACE_SHARE * step) * len(gaps):
        angle = np.degrees(np.arctan2(across[-1], along[-1] - along[0]))
        raise UserError(f"its gantry was tilted by {angle:.1f} degrees", where, "resample it to a rectangular grid")
    return [int(n) for n in order], affine_of(planes[order[0]], (places[-1] - places[0]) / len(gaps))


def _alike(planes: Sequence[Plane], where: str) -> None:
    first = planes[0]
    for plane in planes:
        if not np.allclose(plane.turn, first.turn, atol=1e-3):
            raise UserError("its slices differ in orientation", where, f"{plane.name} is the first")
        if plane.size != first.size or not np.allclose(plane.spacing, first.spacing, rtol=1e-3):
            raise UserError("its slices differ in size or pixel spacing", where, f"{plane.name} is the first")


def _plane(name: str, turn: Any, position: Any, spacing: Any, dataset: Any, thickness: Any) -> Plane:
    made = Plane(
        name,
        np.asarray(turn, float).reshape(6),
        np.asarray(position, float).reshape(3),
        np.asarray(spacing, float).reshape(2),
        (int(dataset.Rows), int(dataset.Columns)),
        float(thickness or 1.0),
    )
    if not (np.isfinite(made.spacing).all() and (made.spacing > 0).all()):
        spaced = " x ".join(f"{float(one):g}" for one in made.spacing)
        raise UserError(f"the Pixel Spacing of {name} is {spaced} mm", hint="repair the header")
    axes = made.turn.reshape(2, 3)
    if not np.allclose(axes @ axes.T, np.eye(2), atol=ORTHONORMAL):
        said = f"the Image Orientation (Patient) of {name} is not two directions at a right angle"
        raise UserError(said, hint="repair the header")
    if not np.isfinite(made.position).all():
        raise UserError(f"the Image Position (Patient) of {name} is not finite", hint="repair the header")
    return made
