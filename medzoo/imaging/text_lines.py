"""Lines of text burnt into a picture: found, and blanked before it is shown to others. Arrays and images only."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medzoo.errors import UserError
from medzoo.types import Array, Image

# Of the span of a picture's values: thresholds that letters stand out at, what they rise above their surroundings, how
# far from their own brightest value they and their neighbours stray.
LEVELS = (0.3, 0.45, 0.6, 0.7, 0.8, 0.9)
RISE, FLAT, ALIKE = 0.2, 0.1, 0.08
# The same of what is thinner than STROKE pixels alone, taken off its ground (a top-hat): letters little brighter than
# tissue. Speckle is thin too, so that its lines must be longer.
STROKE, THIN_LEVELS, THIN_RISE = 7, (0.12, 0.2, 0.3), 0.1
# In a line; layers of tissue put streaks above each other, so that lines that run upwards must be longer.
LETTERS, UPRIGHT, THIN = 3, 6, 5
LOWEST, HIGHEST = 5, 60  # pixels of a letter
BESIDE, ABOVE = 3.0, 0.6  # margins of a line, in heights of its letters


@dataclass(frozen=True, order=True)
class _Mark:
    """A candidate letter: its box (half open), its number among the components, its value."""

    left: int
    right: int
    top: int
    bottom: int
    number: int
    peak: float = 0.0


def text_lines(picture: Array) -> list[tuple[int, int, int, int]]:
    """Boxes (x0, y0, x1, y1), half open, about each line of text in a picture (C, H, W), wide margins included.

    A line is three marks or more side by side, or six one above the other, of one height and value with sharp edges,
    brighter or darker than what surrounds them in some channel; five where only thin strokes stand out. It is made to
    miss little: marks of calipers and streaks of tissue in a row are taken along.
    """
    from scipy.ndimage import grey_opening

    low, span = float(picture.min()), float(picture.max()) - float(picture.min())
    if not span > 0:
        return []
    height, width = picture.shape[1:]
    found = []
    for view in ((picture.max(axis=0) - low) / span, (low + span - picture.min(axis=0)) / span):
        grey = view.astype(np.float32)
        found += _lines(grey, LETTERS)
        found += _lines(grey - grey_opening(grey, (STROKE, STROKE)), THIN, levels=THIN_LEVELS, rise=THIN_RISE)
        found += [(top, left, bottom, right) for left, top, right, bottom in _lines(grey.T, UPRIGHT)]
    return [(max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)) for x0, y0, x1, y1 in found]


def fill_text(picture: Array) -> tuple[Array, int]:
    """A copy of a picture (C, H, W) whose lines of text are filled with its lowest value, and how many there were (the
    same line may count more than once)."""
    lines = text_lines(picture)
    blank_text = picture.copy()
    for x0, y0, x1, y1 in lines:
        blank_text[:, y0:y1, x0:x1] = picture.min()
    return blank_text, len(lines)


def _lines(
    grey: Array, least: int, *, levels: Sequence[float] = LEVELS, rise: float = RISE
) -> list[tuple[int, int, int, int]]:
    """Boxes about lines of at least so many marks along the rows of a picture (H, W) of values 0 to 1."""
    from scipy.ndimage import find_objects, label

    found = []
    for level in levels:
        numbers, _ = label(grey >= level, np.ones((3, 3)))
        marks = [
            _Mark(columns.start, columns.stop, rows.start, rows.stop, number)
            for number, (rows, columns) in enumerate(find_objects(numbers), 1)
            if LOWEST <= (height := rows.stop - rows.start) <= HIGHEST and columns.stop - columns.start <= 1.8 * height
        ]
        # Rows first, they cost little; the look at each mark's values only where there is one.
        marks = [mark for row in _rows(marks, least) for mark in row]
        letters = [letter for mark in marks if (letter := _letter(grey, numbers, mark, rise)) is not None]
        for row in _rows(letters, least):
            tallest = max(mark.bottom - mark.top for mark in row)
            beside, above = round(BESIDE * tallest), max(2, round(ABOVE * tallest))
            left, right = min(m.left for m in row) - beside, max(m.right for m in row) + beside
            found.append((left, min(m.top for m in row) - above, right, max(m.bottom for m in row) + above))
    return found


def _letter(grey: Array, numbers: Array, mark: _Mark, rise: float) -> _Mark | None:
    """The mark with its value, if it is drawn in one value and rises sharply above what surrounds it."""
    from scipy.ndimage import binary_dilation

    window = np.s_[max(mark.top - 3, 0) : mark.bottom + 3, max(mark.left - 3, 0) : mark.right + 3]
    inside, values = numbers[window] == mark.number, grey[window]
    peak = float(np.percentile(values[inside], 95))
    ring = binary_dilation(inside, iterations=3) & ~binary_dilation(inside)
    if (values[inside] >= peak - FLAT).mean() < 0.25 or not ring.any():
        return None
    if peak - np.percentile(values[ring], 75) < rise:
        return None
    return _Mark(mark.left, mark.right, mark.top, mark.bottom, mark.number, peak)


def _rows(marks: list[_Mark], least: int) -> list[list[_Mark]]:
    """Marks that follow each other on one line, lines of at least so many."""
    marks = sorted(marks)
    starts = [mark.left for mark in marks]
    row = list(range(len(marks)))

    def first(n: int) -> int:
        while row[n] != n:
            n = row[n]
        return n

    for n, mark in enumerate(marks):
        for before in range(bisect_left(starts, mark.left - 4 * HIGHEST), n):
            if _follows(marks[before], mark):
                row[first(n)] = first(before)
    together: dict[int, list[_Mark]] = {}
    for n, mark in enumerate(marks):
        together.setdefault(first(n), []).append(mark)
    return [members for members in together.values() if len(members) >= least]


def _follows(one: _Mark, other: _Mark) -> bool:
    height = max(one.bottom - one.top, other.bottom - other.top)
    level = abs(one.bottom - other.bottom) <= 0.3 * height and abs(one.top - other.top) <= 0.4 * height
    return level and -2 <= other.left - one.right <= 1.6 * height and abs(one.peak - other.peak) <= ALIKE


def blank_text(image: Image) -> Image:
    """The image with lines of text in its picture, or in each slice along the third axis of a volume, filled with its
    lowest value; `meta` then says so as "blanked".

    Raises UserError for an image whose header says that text is burnt in (Burned In Annotation) where none is found:
    what cannot be found cannot be blanked.
    """
    if image.affine is None:
        array, count = fill_text(image.array)
    else:
        array, count = image.array.copy(), 0
        for k in range(array.shape[-1]):
            array[..., k], lines = fill_text(image.array[..., k])
            count += lines
    if not count and image.meta.get("burnt_in"):
        raise UserError(
            "its header says that text is burnt in (Burned In Annotation), and none was found to blank",
            image.source or "image",
            "--no-pictures leaves its picture out",
        )
    if not count:
        return image
    share = 100 * float((array != image.array).any(axis=0).mean())
    note = f"text was found burnt in and is blanked in its picture ({share:.1f} % of it); look before it leaves"
    return image.replace(array=np.ascontiguousarray(array), meta={**image.meta, "blanked": note})
