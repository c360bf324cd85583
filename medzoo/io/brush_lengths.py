"""Label Studio's run lengths of brush strokes: bits of an RGBA picture, packed as thi.ng/rle-pack does."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from medzoo.errors import UserError
from medzoo.types import Array


class _Bits:
    """Reads numbers of some bits each from bytes, the highest bit first."""

    def __init__(self, data: Sequence[int]) -> None:
        self.bits = np.unpackbits(np.asarray(data, np.uint8))
        self.at = 0

    def read(self, count: int) -> int:
        part = self.bits[self.at : self.at + count]
        if len(part) < count:
            raise ValueError("it ends too early")
        self.at += count
        return int("".join(map(str, part)), 2)


def decode_brush(data: Sequence[int], size: tuple[int, int], *, where: str) -> Array:
    """The mask (H, W) bool of a brush result's `rle`: where the opacity is above one half. Raises UserError.

    The head is 32 bits of the number of values, 5 of the word's size less 1, and four run sizes of 4 bits less 1; then
    come runs: a bit that says repeated or not, two that choose the run size, the length less 1, and the values.
    """
    try:
        bits = _Bits(data)
        total, word = bits.read(32), bits.read(5) + 1
        sizes = [bits.read(4) + 1 for _ in range(4)]
        if total != 4 * size[0] * size[1]:
            raise ValueError(f"it holds {total} values, not 4 x {size[0]} x {size[1]}")
        values = np.zeros(total, np.uint8)
        at = 0
        while at < total:
            repeated, length = bits.read(1), bits.read(sizes[bits.read(2)]) + 1
            if at + length > total:
                raise ValueError("its runs are longer than the picture")
            if repeated:
                values[at : at + length] = bits.read(word)
            else:
                values[at : at + length] = [bits.read(word) for _ in range(length)]
            at += length
    except (TypeError, ValueError) as error:
        raise UserError(f"its brush strokes cannot be read: {error}", where) from None
    mask: Array = values.reshape(*size, 4)[..., 3] > 127
    return mask


def encode_brush(mask: Array) -> list[int]:
    """The `rle` of a mask (H, W), which `decode_brush` reads back: white, opaque where the mask is."""
    flat = np.repeat(np.asarray(mask, bool).ravel(), 4)
    total = len(flat)
    sizes = (3, 4, 8, 16)
    out = [f"{total:032b}", f"{7:05b}", *(f"{size - 1:04b}" for size in sizes)]
    edges = np.r_[0, np.flatnonzero(np.diff(flat.astype(np.int8))) + 1, total]
    for start, stop in pairwise(edges):
        left = int(stop - start)
        while left:
            length = min(left, 1 << sizes[-1])
            which = next(k for k, size in enumerate(sizes) if length <= 1 << size)
            out.append(f"1{which:02b}{length - 1:0{sizes[which]}b}{255 if flat[start] else 0:08b}")
            left -= length
    text = "".join(out)
    text += "0" * (-len(text) % 8)
    return [int(text[k : k + 8], 2) for k in range(0, len(text), 8)]
