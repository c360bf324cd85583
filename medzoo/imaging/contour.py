"""Contours of masks: the largest component, its outline, resampling by arc length.

Knows numpy, scipy, scikit-image and medzoo.errors.
"""

from __future__ import annotations

import numpy as np

from medzoo.errors import UserError
from medzoo.types import Array

POINTS = 256  # Descriptors depend on the number of points, so all contours have this one.
FEWEST = 8


def check_contour(contour: Array) -> Array:
    """`contour` as (N, 2) float64. Raises UserError for another shape, fewer than 8 points, or NaN."""
    contour = np.asarray(contour, np.float64)
    if contour.ndim != 2 or contour.shape[1] != 2:
        raise UserError(f"a contour is (N, 2), not {contour.shape}")
    if len(contour) < FEWEST:
        raise UserError(f"a contour of {len(contour)} points is too short", hint=f"it takes at least {FEWEST}")
    if not np.isfinite(contour).all():
        raise UserError("the contour holds points that are not finite")
    return contour


def single_component(mask: Array, *, shape: tuple[int, ...] | None = None) -> tuple[Array, tuple[str, ...]]:
    """The largest component of a mask (H, W), its holes filled, and notes on what was changed.

    Notes name several masses and a mass that touches the border. `shape`: the image's, for the check.
    Raises UserError for an empty mask and for a mask of another size than the image.
    """
    from scipy.ndimage import binary_fill_holes, label

    mask = np.asarray(mask) != 0
    if mask.ndim != 2:
        raise UserError(f"a mask is (H, W), not {mask.shape}")
    if shape is not None and mask.shape != tuple(shape):
        raise UserError(
            f"the mask is {mask.shape[1]} x {mask.shape[0]} but its image is {shape[1]} x {shape[0]}",
            hint="give the mask drawn on this image",
        )
    if not mask.any():
        raise UserError("the mask is empty", hint="mark the mass in it")
    notes: list[str] = []
    parts, count = label(mask, np.ones((3, 3)))
    if count > 1:
        sizes = np.bincount(parts.ravel())[1:]
        mask = parts == 1 + int(sizes.argmax())
        notes.append(f"{count} masses in the mask: the largest is used")
    filled: Array = binary_fill_holes(mask)
    if filled[0].any() or filled[-1].any() or filled[:, 0].any() or filled[:, -1].any():
        notes.append("the mass touches the border: its outline is closed along it")
    return filled, tuple(notes)


def trace(mask: Array, *, points: int = POINTS) -> Array:
    """The outline (points, 2), x and y, of the one mass of a mask (H, W), at equal arc lengths.

    The longest closed level line at 0.5, its repeated end dropped. Raises UserError for an outline of
    fewer than 8 points.
    """
    from skimage.measure import find_contours

    # A margin of zeros lets the outline of a mass at the border close along it.
    lines = find_contours(np.pad(np.asarray(mask, np.float64), 1), 0.5)
    closed = [line for line in lines if np.array_equal(line[0], line[-1])]
    if not closed:
        raise UserError("the mask is empty", hint="mark the mass in it")
    longest = max(closed, key=contour_length)
    return resample(longest[:-1, ::-1] - 1.0, points=points)


def resample(contour: Array, *, points: int = POINTS) -> Array:
    """`points` points at equal arc lengths along the closed polygon of a contour (N, 2), first point kept.

    Raises UserError for fewer than 8 points and for a contour of no length.
    """
    contour = check_contour(contour)
    closed = np.concatenate([contour, contour[:1]])
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    if along[-1] == 0:
        raise UserError("all points of the contour are the same")
    at = np.arange(points) * (along[-1] / points)
    return np.stack([np.interp(at, along, closed[:, 0]), np.interp(at, along, closed[:, 1])], axis=1)


def contour_length(contour: Array) -> float:
    """Length of the closed polygon of a contour (N, 2), in its unit."""
    return float(np.hypot(*(np.roll(contour, -1, axis=0) - contour).T).sum())


def contour_area(contour: Array) -> float:
    """Area of the closed polygon of a contour (N, 2), in its unit squared; positive either way round."""
    x, y = contour.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)
