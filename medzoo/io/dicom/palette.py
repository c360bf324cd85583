"""Colours of DICOM palettes, whole or in segments (PS3.3 C.7.6.3.1.5, C.7.6.3.1.6, C.7.9.2).

By hand: pydicom numbers entries in the type of the colours, so that a table of more than 256 entries of 8 bits wraps
around, and takes the byte offset of an indirect segment for one of words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medzoo.io.channels import over_black
from medzoo.types import Array

CHANNELS = ("Red", "Green", "Blue")
_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2


def palette_colours(stored: Array, dataset: Any) -> Array:
    """(3, H, W) colours of the entries `stored` (H, W); uint8, or uint16 where the tables hold more than 8 bits.

    Values below the first entry take its colour, values above the last the last one's. Raises ValueError for tables
    that are missing, damaged or shorter than their descriptor says.
    """
    names = [*CHANNELS, *(["Alpha"] if _data(dataset, "Alpha") is not None else [])]
    tables = _eight_bits([_table(dataset, name) for name in names])
    channels = []
    for name, table in zip(names, tables, strict=True):
        first = int(_descriptor(dataset, name)[1])
        channels.append(table[np.clip(stored.astype(np.int64) - first, 0, len(table) - 1)])
    if len(channels) == 4:
        return over_black(np.stack(channels, axis=-1))
    return np.stack(channels)


def _descriptor(dataset: Any, name: str) -> Sequence[int]:
    """Number of entries, first value mapped, and bits of an entry; an opacity without one has that of red."""
    found = dataset.get(f"{name}PaletteColorLookupTableDescriptor")
    if found is None and name == "Alpha":
        found = dataset.get("RedPaletteColorLookupTableDescriptor")
    if found is None or len(found) != 3:
        raise ValueError(f"its palette has no descriptor of {name.lower()}")
    return [int(number) for number in found]


def _data(dataset: Any, name: str) -> tuple[Any, bool] | None:
    """The stored table of a channel, and whether it is in segments; None if there is none."""
    for form, in_segments in (("", False), ("Segmented", True)):
        value = dataset.get(f"{form}{name}PaletteColorLookupTableData")
        if value:
            return value, in_segments
    return None


def _table(dataset: Any, name: str) -> Array:
    """The entries of a channel as stored, uint8 or uint16."""
    count, _, bits = _descriptor(dataset, name)
    count = count or 1 << 16
    found = _data(dataset, name)
    if found is None:
        raise ValueError(f"its palette has no table of {name.lower()}")
    value, in_segments = found
    words = _words(value, dataset, wide=bits > 8 if in_segments else _is_wide(value, count))
    if in_segments:
        words = _expanded(words, count, wide=words.dtype.itemsize == 2)
    if len(words) < count:
        raise ValueError(f"its palette has {len(words)} of {count} entries of {name.lower()}")
    return words[:count]


def _is_wide(value: Any, count: int) -> bool:
    """True if each entry takes two bytes; a table of bytes may have one more, for an even length."""
    return not isinstance(value, bytes | bytearray) or len(value) >= 2 * count


def _words(value: Any, dataset: Any, *, wide: bool) -> Array:
    """Bytes as unsigned numbers of one or two bytes."""
    if not isinstance(value, bytes | bytearray):  # numbers already
        return np.atleast_1d(np.asarray(value)).astype(np.uint16)
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    is_big = syntax is not None and not syntax.is_private and not syntax.is_little_endian
    if wide or is_big:
        words = np.frombuffer(value[: len(value) & ~1], ">u2" if is_big else "<u2").astype("<u2")
        # Bytes come in words, whose order is the file's.
        return words.astype(np.uint16) if wide else words.view(np.uint8)
    return np.frombuffer(value, np.uint8)


def _expanded(words: Array, count: int, *, wide: bool) -> Array:
    """All entries of a segmented table, at most `count`."""
    numbers = [int(word) for word in words]
    entries: list[int] = []
    at = 0
    while at + 1 < len(numbers) and len(entries) < count:  # one number may be left over, for an even length
        if numbers[at] != _INDIRECT:
            at = _segment(numbers, at, entries)
            continue
        length = numbers[at + 1]
        halves = numbers[at + 2 : at + (4 if wide else 6)]
        if len(halves) != (2 if wide else 4):
            raise ValueError("its palette ends within a segment")
        # Least significant part first; bytes from the start of the table.
        offset = sum(half << (16 if wide else 8) * place for place, half in enumerate(halves))
        at += 2 + len(halves)
        inner = offset // 2 if wide else offset
        for _ in range(length):
            if inner + 1 >= len(numbers) or numbers[inner] == _INDIRECT:
                raise ValueError("its palette repeats segments that it does not have")
            inner = _segment(numbers, inner, entries)
            if len(entries) >= count:
                break
    return np.array(entries, np.uint16 if wide else np.uint8)


def _segment(numbers: Sequence[int], at: int, entries: list[int]) -> int:
    """Append the entries of a discrete or linear segment; returns where the next one begins."""
    kind, length = numbers[at], numbers[at + 1]
    values = numbers[at + 2 : at + 2 + (length if kind == _DISCRETE else 1)]
    if kind not in (_DISCRETE, _LINEAR):
        raise ValueError(f"its palette has a segment of the unknown type {kind}")
    if len(values) != (length if kind == _DISCRETE else 1):
        raise ValueError("its palette ends within a segment")
    if kind == _DISCRETE:
        entries += values
    elif not entries:
        raise ValueError("its palette begins with a linear segment")
    else:
        steps = np.linspace(entries[-1], values[0], length + 1)[1:]
        entries += [int(step) for step in np.rint(steps)]
    return at + 2 + len(values)


def _eight_bits(tables: Sequence[Array]) -> list[Array]:
    """Tables of 16 bits as 8 where they hold no more: repeated, in the upper byte or in the lower."""
    if any(table.dtype != np.uint16 for table in tables):
        return [table.astype(np.uint8) if (table <= 255).all() else (table >> 8).astype(np.uint8) for table in tables]
    every = np.concatenate(tables)
    high, low = every >> 8, every & 0xFF
    if not high.any():
        return [table.astype(np.uint8) for table in tables]
    if not low.any() or np.array_equal(high, low):
        return [(table >> 8).astype(np.uint8) for table in tables]
    return list(tables)
