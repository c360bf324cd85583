"""COCO's run-length encoding of masks, as numbers and as its compressed text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medzoo.errors import UserError
from medzoo.types import Array


def run_lengths(mask: Array) -> list[int]:
    """Lengths of the runs of a mask (H, W), column by column, the first of zeros (COCO's uncompressed RLE)."""
    flat = np.asarray(mask, bool).ravel(order="F")
    edges = np.flatnonzero(np.diff(np.r_[False, flat, False]))
    lengths = np.diff(np.r_[0, edges, len(flat)])
    return [int(n) for n in lengths[: len(lengths) - (lengths[-1] == 0)]]


def crop_run_lengths(crop: Array, corner: tuple[int, int], shape: tuple[int, ...]) -> list[int]:
    """`run_lengths` of a mask of `shape` (H, W) that is zero but for `crop` (h, w), whose upper left pixel lies at
    `corner` (row, column); takes time by the crop, not by the whole."""
    height, total = shape[0], shape[0] * shape[1]
    lines = np.zeros((crop.shape[1], crop.shape[0] + 2), np.int8)
    lines[:, 1:-1] = np.asarray(crop, bool).T
    change = np.diff(lines, axis=1)
    base = (corner[1] + np.arange(crop.shape[1])) * height + corner[0]
    starts, stops = (base[column] + row for column, row in (np.nonzero(change == sign) for sign in (1, -1)))
    # A run that fills a column goes on in the next.
    together = starts[1:] == stops[:-1]
    starts, stops = starts[np.r_[True, ~together][: len(starts)]], stops[np.r_[~together, True][: len(stops)]]
    edges = np.column_stack([starts, stops]).ravel()
    lengths = np.diff(np.r_[0, edges, total])
    return [int(n) for n in lengths[: len(lengths) - (lengths[-1] == 0)]]


def from_run_lengths(counts: Sequence[int], shape: tuple[int, int], *, where: str) -> Array:
    """The mask (H, W) bool of run lengths. Raises UserError where they do not fill it exactly."""
    lengths = np.asarray(counts)
    whole = lengths.ndim == 1 and np.issubdtype(lengths.dtype, np.integer) and bool((lengths >= 0).all())
    if not whole or int(lengths.sum()) != shape[0] * shape[1]:
        raise UserError(f"its run lengths do not fill a mask of {shape[0]} x {shape[1]}", where)
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(shape, order="F")


def compressed(counts: Sequence[int]) -> str:
    """Run lengths as COCO's text: five bits a character, lowest first, of each length's difference from the last but
    one; the sixth bit says that more follow, and character 48 is zero."""
    text = []
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        more = True
        while more:
            bits, value = value & 31, value >> 5
            more = value != -1 if bits & 16 else value != 0
            text.append(chr(48 + (bits | 32 if more else bits)))
    return "".join(text)


def decompressed(text: str, *, where: str) -> list[int]:
    """The inverse of `compressed`. Raises UserError for text that is none."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 60:
            raise UserError(f"holds {character!r}, which is not part of a compressed run length", where)
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        value -= (1 << shift) if code & 16 else 0
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise UserError("its compressed run lengths end too early", where)
    return counts
