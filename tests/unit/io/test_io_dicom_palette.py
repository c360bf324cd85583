"""Palettes of DICOM pictures: whole and segmented, of 8 and 16 bits, of more entries than a byte counts."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from medzoo.errors import UserError
from medzoo.io import read_image
from tests.unit.io.test_io_dicom import slices


def palette(entries: Callable[[np.ndarray], np.ndarray], bits: int = 16) -> Dataset:
    d = slices()[0]
    del d.RescaleSlope, d.RescaleIntercept, d.ImagePositionPatient
    d.PhotometricInterpretation, d.PixelRepresentation = "PALETTE COLOR", 0
    d.BitsAllocated, d.BitsStored, d.HighBit = 8, 8, 7
    d.PixelData = np.arange(20, dtype=np.uint8).tobytes()
    for number, colour in enumerate(("Red", "Green", "Blue")):
        table = entries((np.arange(256) * (number + 3)) % 256)
        setattr(d, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, bits])
        setattr(d, f"{colour}PaletteColorLookupTableData", table.astype("<u2" if bits == 16 else np.uint8).tobytes())
    return d


@pytest.mark.parametrize(
    ("entries", "bits"), [(lambda v: v * 257, 16), (lambda v: v << 8, 16), (lambda v: v, 16), (lambda v: v, 8)]
)
def test_palettes_of_eight_bits(entries: Callable[[np.ndarray], np.ndarray], bits: int) -> None:
    image = read_image(palette(entries, bits))
    assert image.array.dtype == np.uint8
    for number in range(3):
        np.testing.assert_array_equal(image.array[number].ravel(), np.arange(20) * (number + 3) % 256)


def test_a_palette_of_sixteen_bits_keeps_them() -> None:
    assert read_image(palette(lambda v: v * 250 + 3)).array.dtype == np.uint16


def segmented(parts: list[tuple[int, ...]], bits: int, count: int, *, first: int = 0) -> Dataset:
    """A picture of 20 values from `first` on, all three of whose channels have the segments `parts`."""
    d = palette(lambda v: v)
    numbers = [number for part in parts for number in part]
    if bits == 8:
        numbers += [0] * (len(numbers) % 2)
    data = struct.pack(f"<{len(numbers)}{'B' if bits == 8 else 'H'}", *numbers)
    d.PixelData = np.arange(first, first + 20, dtype=np.uint8).tobytes()
    for colour in ("Red", "Green", "Blue"):
        delattr(d, f"{colour}PaletteColorLookupTableData")
        setattr(d, f"{colour}PaletteColorLookupTableDescriptor", [count, first, bits])
        setattr(d, f"Segmented{colour}PaletteColorLookupTableData", data)
    return d


RAMP = [5, 9, 2, 4, 6, 8, 10, 30, 31, 32]
DISCRETE, LINEAR, INDIRECT = 0, 1, 2


@pytest.mark.parametrize(
    ("parts", "bits", "wanted"),
    [
        ([(DISCRETE, 2, 5, 9), (DISCRETE, 1, 2), (LINEAR, 4, 10), (DISCRETE, 3, 30, 31, 32)], 8, RAMP),
        ([(DISCRETE, 3, 5, 9, 2), (LINEAR, 4, 10), (DISCRETE, 3, 30, 31, 32)], 16, RAMP),
        # The first two segments, 8 bytes, once more: two of them, from byte 0 on.
        ([(DISCRETE, 1, 0), (LINEAR, 2, 8), (INDIRECT, 2, 0, 0, 0, 0)], 8, [0, 4, 8, 0, 4, 8]),
        # Words: the second segment lies at byte 6, the third word.
        ([(DISCRETE, 1, 1000), (LINEAR, 2, 3000), (INDIRECT, 1, 6, 0)], 16, [1000, 2000, 3000, 3000, 3000]),
        ([(DISCRETE, 1, 1000), (LINEAR, 2, 3000), (INDIRECT, 2, 0, 0)], 16, [1000, 2000, 3000, 1000, 2000, 3000]),
    ],
)
def test_segments_are_expanded(parts: list[tuple[int, ...]], bits: int, wanted: list[int]) -> None:
    array = read_image(segmented(parts, bits, len(wanted))).array
    expected = [*wanted, *[wanted[-1]] * (20 - len(wanted))]
    assert array.dtype == (np.uint8 if max(wanted) < 256 else np.uint16)
    for channel in array:
        assert channel.ravel().tolist() == expected


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([(LINEAR, 4, 10)], "begins with a linear segment"),
        ([(DISCRETE, 9, 1, 2)], "ends within a segment"),
        ([(7, 1, 1)], "unknown type 7"),
        ([(DISCRETE, 1, 1), (INDIRECT, 1, 200, 0, 0, 0)], "repeats segments that it does not have"),
        ([(DISCRETE, 1, 1), (INDIRECT, 1, 3, 0, 0, 0)], "repeats segments that it does not have"),
        ([(DISCRETE, 2, 1, 2)], "has 2 of 30 entries"),
    ],
)
def test_damaged_segments_are_refused(parts: list[tuple[int, ...]], words: str) -> None:
    with pytest.raises(UserError, match=words):
        read_image(segmented(parts, 8, 30))


@pytest.mark.parametrize(("count", "first"), [(300, 0), (4096, 0), (4096, 1000)])
def test_more_entries_than_a_byte_counts(count: int, first: int) -> None:
    """8-bit colours of 16-bit values: the number of an entry is not a byte."""
    table = (np.arange(count) * 7 % 251).astype(np.uint8)
    d = palette(lambda v: v, 8)
    d.BitsAllocated, d.BitsStored, d.HighBit = 16, 16, 15
    values = np.linspace(first, first + count - 1, 20).astype("<u2")
    d.PixelData = values.tobytes()
    for colour in ("Red", "Green", "Blue"):
        setattr(d, f"{colour}PaletteColorLookupTableDescriptor", [count, first, 8])
        setattr(d, f"{colour}PaletteColorLookupTableData", table.tobytes())
    np.testing.assert_array_equal(read_image(d).array[1].ravel(), table[values - first])


def test_an_odd_table_is_padded() -> None:
    d = palette(lambda v: v, 8)
    for colour in ("Red", "Green", "Blue"):
        setattr(d, f"{colour}PaletteColorLookupTableDescriptor", [255, 0, 8])
    assert read_image(d).array.shape == (3, 5, 4)


@pytest.mark.parametrize("bits", [8, 16])
def test_bytes_of_a_big_endian_file(tmp_path: Path, bits: int) -> None:
    d = palette(lambda v: v, bits)
    wanted = read_image(d).array
    for colour in ("Red", "Green", "Blue"):
        name = f"{colour}PaletteColorLookupTableData"
        setattr(d, name, np.frombuffer(getattr(d, name), "<u2").astype(">u2").tobytes())
    raw = d.PixelData
    d.PixelData = np.frombuffer(raw, "<u2").astype(">u2").tobytes()
    d["PixelData"].VR = "OW"
    assert d.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    d.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    d.save_as(tmp_path / "big.dcm", implicit_vr=False, little_endian=False)
    np.testing.assert_array_equal(read_image(tmp_path / "big.dcm").array, wanted)


def test_entries_that_a_picture_does_not_use_count() -> None:
    """A dark picture of a 16-bit palette has 16-bit colours, though it shows few of them."""
    d = palette(lambda v: np.where(v < 60, v, v * 250 + 3))
    d.PixelData = np.zeros(20, np.uint8).tobytes()
    assert read_image(d).array.dtype == np.uint16
