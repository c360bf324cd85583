"""Stored pixels of DICOM images as values: decoded, rescaled, more always brighter."""

from __future__ import annotations

from typing import Any

import numpy as np

from medzoo.errors import UserError
from medzoo.io.check import check_extent
from medzoo.io.dicom.faults import said
from medzoo.types import Array

# A frame whose header claims more bytes than this many times what is stored for it is a hostile one.
MOST_PACKED = 4096
HINT = "for compressed files: pip install 'medzoo[dicom]'"


def pixels(dataset: Any, where: str) -> Array:
    """(1 or 3, H, W) values of a single frame, after the modality LUT. Raises UserError."""
    import pydicom  # noqa: F401  (the whole first: threads import at once)
    from pydicom.pixels import apply_color_lut, apply_modality_lut

    _check(dataset, where)
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise UserError(
            f"holds {frames} frames without a place in space", where, "save the wanted frame as a file of its own"
        )
    try:
        stored = _stored(dataset)
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            stored = apply_color_lut(stored, dataset)
        if stored.ndim == 3:
            return np.ascontiguousarray(stored.transpose(2, 0, 1))
        values = apply_modality_lut(stored, dataset)
    except Exception as error:  # a missing decoder, a short buffer, a wrong tag: each its own kind
        raise UserError(f"its pixels cannot be decoded: {said(error)}", where, HINT) from error
    if values is not stored:
        values = values.astype(np.float32)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        values = _turned_over(values, dataset)
    return np.ascontiguousarray(values)[None]


def frames_of(dataset: Any, where: str) -> Array:
    """(N, H, W) grey values of all frames, each with its own rescaling. Raises UserError."""
    _check(dataset, where)
    try:
        stored = _stored(dataset)
    except Exception as error:
        raise UserError(f"its pixels cannot be decoded: {said(error)}", where, HINT) from error
    if int(dataset.get("SamplesPerPixel") or 1) != 1:
        raise UserError("holds colour frames, a volume is grey", where)
    stored = np.asarray(stored).reshape(-1, *stored.shape[-2:])
    negative = dataset.PhotometricInterpretation == "MONOCHROME1"
    scale = np.array([_scale(dataset, number) for number in range(len(stored))])
    if negative:
        stored = _turned_over(stored, dataset)
    if (scale == (1.0, 0.0)).all():
        return np.asarray(stored)
    values: Array = stored.astype(np.float32)
    values *= scale[:, 0, None, None].astype(np.float32)
    values += scale[:, 1, None, None].astype(np.float32)
    return values


def is_plain(head: Any) -> bool:
    """Whether pixels lie in the file as they are: grey, uncompressed, little endian, whole bytes, all bits used
    in the plain way, rescaled by slope and intercept alone."""
    import pydicom  # noqa: F401  (the whole first: threads import at once)
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    syntax = head.file_meta.get("TransferSyntaxUID") if hasattr(head, "file_meta") else None
    bits = int(head.get("BitsAllocated") or 0)
    signed = int(head.get("PixelRepresentation") or 0)
    return (
        syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
        and bits in (8, 16)
        and int(head.get("SamplesPerPixel") or 0) == 1
        and head.get("PhotometricInterpretation") == "MONOCHROME2"
        and (int(head.get("BitsStored") or 0) == bits or not signed)
        and int(head.get("NumberOfFrames") or 1) == 1
        and not head.get("ModalityLUTSequence")
    )


def plain_dtype(head: Any) -> np.dtype[Any]:
    """How the pixels of a header that `is_plain` lie in the file."""
    kind = "i" if int(head.get("PixelRepresentation") or 0) else "u"
    return np.dtype(f"<{kind}{int(head.BitsAllocated) // 8}")


def slope_and_intercept(head: Any) -> tuple[float, float]:
    """The linear modality LUT; (1, 0) where there is none."""
    slope, intercept = head.get("RescaleSlope"), head.get("RescaleIntercept")
    return (1.0 if slope is None else float(slope)), float(intercept or 0)


def _stored(dataset: Any) -> Array:
    """What pydicom decodes; run lengths by its own decoder, since others abort on damaged ones."""
    import pydicom  # noqa: F401  (the whole first: threads import at once)
    from pydicom.uid import RLELossless

    if dataset.file_meta.TransferSyntaxUID == RLELossless:
        dataset.pixel_array_options(decoding_plugin="pydicom")
    return np.asarray(dataset.pixel_array)


def _scale(dataset: Any, number: int) -> tuple[float, float]:
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for groups in ([frames[number]] if number < len(frames) else []) + list(shared):
        if groups.get("PixelValueTransformationSequence"):
            return slope_and_intercept(groups.PixelValueTransformationSequence[0])
    return slope_and_intercept(dataset)


def _check(dataset: Any, where: str) -> None:
    """Hold what a header claims against what is stored, before anything is decoded."""
    if "Rows" not in dataset or "Columns" not in dataset or "PixelData" not in dataset:
        raise UserError("is no DICOM image (it has no pixel data)", where)
    frames = int(dataset.get("NumberOfFrames") or 1)
    shape: tuple[int, ...] = (int(dataset.Rows), int(dataset.Columns))
    shape = (frames, *shape) if frames > 1 else shape
    check_extent(shape, where)
    claimed = int(np.prod(shape, dtype=np.int64)) * max(1, int(dataset.get("BitsAllocated") or 8) // 8)
    held = len(dataset.PixelData or b"")
    if claimed > MOST_PACKED * max(held, 1):
        size = " x ".join(map(str, shape))
        raise UserError(f"its header claims {size} pixels, {held} bytes are stored for them", where)
    if "file_meta" not in dataset.__dict__ or "TransferSyntaxUID" not in dataset.file_meta:
        import pydicom  # noqa: F401  (the whole first: threads import at once)
        from pydicom.dataset import FileMetaDataset
        from pydicom.uid import ImplicitVRLittleEndian

        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian


def _turned_over(values: Array, dataset: Any) -> Array:
    """Lowest and highest possible value exchanged, and all between, in the dtype that came in."""
    bits, signed = int(dataset.BitsStored), bool(dataset.PixelRepresentation)
    ends = np.array([-(1 << bits - 1), (1 << bits - 1) - 1] if signed else [0, (1 << bits) - 1], float)
    if values.dtype.kind == "f":
        ends = ends * float(dataset.get("RescaleSlope", 1)) + float(dataset.get("RescaleIntercept", 0))
    turned: Array = (ends.sum() - values.astype(float)).astype(values.dtype)
    return turned
