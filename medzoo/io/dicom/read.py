"""Read DICOM files, datasets, series folders and archives as an Image.

A single file is a picture (C, H, W) unless a volume is asked for. A series, or the frames of one enhanced file, is
a volume (1, I, J, K) with i along the columns, j along the rows, k along the slices, in the direction of the slice
normal; its affine leads to RAS.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.errors import UserError
from medzoo.io.check import check_affine, check_extent, check_values, check_volume
from medzoo.io.dicom.deidentify import redact_message
from medzoo.io.dicom.facts import header_facts
from medzoo.io.dicom.functional_groups import frame_count
from medzoo.io.dicom.geometry import has_frame_positions, is_cross_section, ordered, plane_of, planes_of
from medzoo.io.dicom.headers import Found, Header, in_archive, in_folder, read_dataset
from medzoo.io.dicom.kinds import refuse_derived
from medzoo.io.dicom.picture_spacing import picture_spacing, stretch_note
from medzoo.io.dicom.pixels import (
    check_dataset,
    frames_of,
    is_plain,
    pixels,
    plain_dtype,
    rescaling,
    unused_bits_cleared,
)
from medzoo.types import Array, Image

THREADS = 4  # that read slices into a volume


def read_dicom(path: Path, *, volume: bool = False, labels: bool = False, frame: str | None = None) -> Image:
    """One DICOM file as a picture (C, H, W), as a volume of one slice, or, if it holds frames that say where they
    lie, as the volume they make.

    `labels` lets a segmentation pass, which is no image; `frame`: the number, from 0, of a frame without a place, which
    is then the picture. Raises UserError naming the file.
    """
    with _one_line(str(path)):
        dataset = read_dataset(path, str(path))
        number = None if frame is None else _frame_number(dataset, frame, str(path))
        return _from_dataset(dataset, str(path), volume=volume, labels=labels, frame=number)


def from_dataset(dataset: Any, *, where: str = "DICOM dataset", volume: bool = False, labels: bool = False) -> Image:
    """One pydicom dataset, as `read_dicom` reads a file. Raises UserError.

    Grey values are rescaled (modality LUT); MONOCHROME1 is turned over, so that more is always brighter.
    """
    with _one_line(where):
        return _from_dataset(dataset, where, volume=volume, labels=labels)


def read_series(folder: Path, *, series: str | None = None, labels: bool = False) -> Image:
    """The one DICOM series in `folder`, or the one called `series`, as a volume (1, I, J, K); a series of one file
    as that file.

    Raises UserError if there is none or more than one series, if slices are missing, twice there, unevenly
    spaced or turned against each other, or if the gantry was tilted.
    """
    with _one_line(str(folder)):
        return _read_headers(in_folder(folder), str(folder), series, labels=labels)


def read_archive(path: Path, *, series: str | None = None, labels: bool = False) -> Image:
    """The one series in a zip archive, read as `read_series` reads a folder; nothing is unpacked to disk."""
    with _one_line(str(path)):
        return _read_headers(in_archive(path), str(path), series, labels=labels)


def all_headers(folder: Path) -> list[Header]:
    """Headers of all DICOM files below `folder`: images, and objects without pixels such as RTSTRUCT, by name.

    Raises UserError that names a file that should be DICOM and cannot be read.
    """
    found = in_folder(folder, objects=True)
    if found.unread:
        one = found.unread[0]
        raise UserError(one.why, one.name, "replace it by an intact file, or remove it")
    return found.images


def read_headers(headers: list[Header], where: str) -> Image:
    """The volume of the images of one series, wherever their files lie. Raises UserError as `read_series`."""
    with _one_line(where):
        if len(headers) == 1:
            return _from_dataset(headers[0].dataset(), headers[0].name, volume=True)
        return _read_headers(Found(headers, []), where, None, labels=False)


@contextmanager
def _one_line(where: str) -> Iterator[None]:
    """Convert exceptions that pydicom raises when a damaged element is first used to a UserError."""
    try:
        yield
    except UserError as error:
        raise error.located(where) from error.__cause__
    except Exception as error:  # of a kind of its own for every fault
        raise UserError(f"is damaged: {redact_message(error)}", where) from error


def _frame_number(dataset: Any, text: str, where: str) -> int:
    """The number of a frame behind the file's name. Raises UserError for one that is not there."""
    count = frame_count(dataset)
    if count > 1 and has_frame_positions(dataset):
        raise UserError("is a volume, so single frames cannot be chosen", where, "give the file without a number")
    held = f"it holds {count} frames, 0 to {count - 1}" if count > 1 else "it holds one, 0"
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise UserError(f"{text!r} is not a frame number", where, held)
    if int(text) >= count:
        raise UserError(f"has no frame {int(text)}", where, held)
    return int(text)


def _from_dataset(dataset: Any, where: str, *, volume: bool, labels: bool = False, frame: int | None = None) -> Image:
    refuse_derived(dataset, where, labels=labels)
    meta = {"format": "dicom", **header_facts(dataset), "files": (where,)}
    if frame_count(dataset) > 1 and has_frame_positions(dataset):
        check_dataset(dataset, where)
        order, affine = ordered(planes_of(dataset, where), where)
        array = frames_of(dataset, where)[order].transpose(2, 1, 0)[None]
        check_values(array, where)
        return _volume(array, affine, where, meta | {"frames": tuple(order)})
    values = pixels(dataset, where, frame=frame)
    check_values(values, where)
    if not volume:
        if len(values) == 1 and is_cross_section(dataset):
            meta["single_slice"] = True
        if frame is not None and frame_count(dataset) > 1:
            meta["frame"] = frame
        if (spacing := picture_spacing(dataset)) is not None:
            meta["spacing_mm"] = spacing
        if (note := stretch_note(dataset, spacing)) is not None:
            meta["notes"] = (note,)
        return Image(values, None, where, meta)
    if values.shape[0] != 1:
        raise UserError("is a colour picture, but a volume is needed", where)
    _, affine = ordered([plane_of(dataset, where, "the slice")], where)
    return _volume(values[0].T[None, :, :, None], affine, where, meta)


def _volume(array: Array, affine: Array, where: str, meta: dict[str, Any]) -> Image:
    check_affine(affine, where)
    check_volume(array, where)
    return Image(array, affine, where, meta)


def _read_headers(found: Found, where: str, series: str | None, *, labels: bool) -> Image:
    if not found.images and not found.unread:
        raise UserError("holds no DICOM images", where, "name the files themselves")
    images = found.series(where, wanted=series)
    if len(images) == 1:
        return _from_dataset(images[0].dataset(), images[0].name, volume=False, labels=labels)
    refuse_derived(images[0].head, where, labels=labels)
    several = [one for one in images if frame_count(one.head) > 1]
    if several:
        message = f"{len(several)} of the {len(images)} images of its series hold several frames: {several[0].short}"
        raise UserError(message, where, "name the file itself")
    order, affine = ordered([plane_of(one.head, one.name, one.short) for one in images], where)
    slices = [images[n] for n in order]
    first = slices[0].head
    check_extent((int(first.Columns), int(first.Rows), len(slices)), where)
    heads = [one.head for one in slices] if first.get("Modality") == "PT" else []
    meta = {"format": "dicom", **header_facts(first, heads), "files": tuple(one.name for one in slices)}
    return _volume(_stacked(slices), affine, where, meta)


def _stacked(slices: Sequence[Header]) -> Array:
    """(1, I, J, K) values, laid out in memory slice by slice as they come; slices are read by several threads."""
    rescaled = any(rescaling(one.head) != (1.0, 0.0) for one in slices)
    if not rescaled and not all(_is_direct(one) for one in slices):
        planes = [_grey(one) for one in slices]
        stack = np.stack([plane.astype(np.result_type(*planes), copy=False) for plane in planes])
        return stack.transpose(2, 1, 0)[None]
    first = slices[0].head
    kinds = [plain_dtype(one.head).newbyteorder("=") for one in slices if _is_direct(one)]
    dtype = np.dtype(np.float32) if rescaled else np.result_type(*kinds)
    stack = np.empty((len(slices), int(first.Rows), int(first.Columns)), dtype)

    def fill(k: int) -> None:
        one, out = slices[k], stack[k]
        if not _is_direct(one):
            out[:] = _grey(one)
            return
        out[:] = _plain(one)
        slope, intercept = rescaling(one.head)
        if not np.isfinite([slope, intercept]).all():
            raise UserError("its rescale slope and intercept are not numbers", one.name)
        if slope != 1:
            out *= dtype.type(slope)
        if intercept:
            out += dtype.type(intercept)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(fill, range(len(slices))))
    return stack.transpose(2, 1, 0)[None]


def _is_direct(one: Header) -> bool:
    return bool(one.offset) and is_plain(one.head)


def _grey(one: Header) -> Array:
    """(rows, columns) values of a slice whose pixels must be decoded."""
    decoded = pixels(one.dataset(), one.name)
    if decoded.shape[0] != 1:
        raise UserError("is a colour picture among the slices of a series", one.name)
    check_values(decoded, one.name)
    plane: Array = decoded[0]
    return plane


def _plain(one: Header) -> Array | None:
    values = one.values(plain_dtype(one.head))
    if values is None:
        raise UserError("is truncated: it holds fewer pixels than its header claims", one.name)
    return unused_bits_cleared(values, one.head, one.name)
