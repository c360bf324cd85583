"""Detect text that is burnt into a picture. Arrays only."""

from __future__ import annotations

import numpy as np

from medzoo.types import Array

LETTERS = 4  # in a row
MOST = 400  # bright specks, beyond which they are texture


def has_burnt_in_text(picture: Array) -> bool:
    """Return True if a grey picture (H, W) has a row of at least four bright, sharp marks of one height.

    Letters of a scanner are drawn with the brightest value, are 6 to 40 pixels high, have dark around
    them, stand on one line and close together; tissue that is as bright seldom does all of that.
    """
    from scipy.ndimage import find_objects, label

    top = float(picture.max())
    bright = picture >= 0.75 * top
    if top <= 0 or not 0 < bright.mean() < 0.1:
        return False
    numbers, count = label(bright, np.ones((3, 3)))
    if count > MOST:
        return False
    places = [
        (number, rows, columns)
        for number, (rows, columns) in enumerate(find_objects(numbers), 1)
        if 6 <= rows.stop - rows.start <= 40 and columns.stop - columns.start <= 1.6 * (rows.stop - rows.start)
    ]
    # Lines first, they cost little; the look at each mark's edge only where there is one.
    if _longest_row([_ends(rows, columns) for _, rows, columns in places]) < LETTERS:
        return False
    marks = [_ends(rows, columns) for k, rows, columns in places if _sharp(picture, numbers == k, rows, columns)]
    return _longest_row(marks) >= LETTERS


def _ends(rows: slice, columns: slice) -> tuple[int, int, int, int]:
    return columns.start, columns.stop, rows.start, rows.stop


def _sharp(picture: Array, mark: Array, rows: slice, columns: slice) -> bool:
    """True if grey values fall from the mark's to the surroundings' within two pixels."""
    from scipy.ndimage import binary_dilation

    window = np.s_[max(rows.start - 4, 0) : rows.stop + 4, max(columns.start - 4, 0) : columns.stop + 4]
    inside = mark[window]
    ring = binary_dilation(inside, iterations=3) & ~binary_dilation(inside, iterations=2)
    return bool(ring.any() and np.median(picture[window][ring]) < 0.5 * picture.max())


def _longest_row(marks: list[tuple[int, int, int, int]]) -> int:
    """Most marks (left, right, top, bottom) that follow each other on one line."""
    marks = sorted(marks)
    longest = [1] * len(marks)
    for k, (left, _, top, bottom) in enumerate(marks):
        for j, (_, right, other_top, other_bottom) in enumerate(marks[:k]):
            height = max(bottom - top, other_bottom - other_top)
            level = abs(bottom - other_bottom) <= 0.25 * height and abs(top - other_top) <= 0.35 * height
            if level and -1 <= left - right <= 1.2 * height:
                longest[k] = max(longest[k], longest[j] + 1)
    return max(longest, default=0)
