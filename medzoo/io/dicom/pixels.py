"""Pixel values of DICOM images: decoded, rescaled, with larger values brighter."""

from __future__ import annotations

from typing import Any

import numpy as np

from medzoo.errors import UserError
from medzoo.io.dicom.declared_size import check_declared_size
from medzoo.io.dicom.deidentify import redact_message
from medzoo.io.dicom.functional_groups import PER_FRAME, SHARED, frame_count, frame_value
from medzoo.io.dicom.palette import palette_colours
from medzoo.types import Array

HINT = "for compressed files: pip install 'medzoo[dicom]'"


def pixels(dataset: Any, where: str, *, frame: int | None = None) -> Array:
    """(1 or 3, H, W) values of a single frame, or of `frame` from 0 on, after the modality LUT. Raises UserError."""
    import pydicom  # noqa: F401  (the whole first: threads import at once)
    from pydicom.pixels import apply_modality_lut

    check_dataset(dataset, where)
    frames = frame_count(dataset)
    if frames > 1 and frame is None:
        way = f"choose one of them, counted from 0: {where}#0"
        raise UserError(f"holds {frames} frames without positions", where, way)
    try:
        stored = _stored(dataset, where, frame=frame)
        if stored.ndim != (2 if int(dataset.get("SamplesPerPixel") or 1) == 1 else 3):  # pydicom reads what is there
            raise UserError(f"stores {len(stored)} frames, its header claims one", where, "repair NumberOfFrames")
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            return palette_colours(stored, dataset)
        if stored.ndim == 3:
            return np.ascontiguousarray(stored.transpose(2, 0, 1))
        rescaling(dataset, frame or 0)
        values = _rescaled(apply_modality_lut(stored, dataset), stored, dataset, frame or 0)
    except UserError:
        raise
    except Exception as error:  # a missing decoder, a short buffer, a wrong tag: each its own kind
        raise UserError(f"its pixels cannot be decoded: {redact_message(error)}", where, HINT) from error
    if values is not stored:
        values = values.astype(np.float32)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        values = _turned_over(values, dataset)
    return np.ascontiguousarray(values)[None]


def frames_of(dataset: Any, where: str) -> Array:
    """(N, H, W) grey values of all frames, each with its own rescaling. Raises UserError."""
    check_dataset(dataset, where)
    try:
        stored = _stored(dataset, where)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"its pixels cannot be decoded: {redact_message(error)}", where, HINT) from error
    if int(dataset.get("SamplesPerPixel") or 1) != 1:
        raise UserError("holds colour frames, a volume is grey", where)
    stored = np.asarray(stored).reshape(-1, *stored.shape[-2:])
    if len(stored) != frame_count(dataset):  # pydicom reads what is there
        claimed = frame_count(dataset)
        raise UserError(f"stores {len(stored)} frames, its header claims {claimed}", where, "repair NumberOfFrames")
    negative = dataset.PhotometricInterpretation == "MONOCHROME1"
    scale = np.array([rescaling(dataset, number) for number in range(len(stored))])
    if negative:
        stored = _turned_over(stored, dataset)
    if (scale == (1.0, 0.0)).all():
        return np.asarray(stored)
    values: Array = stored.astype(np.float32)
    values *= scale[:, 0, None, None].astype(np.float32)
    values += scale[:, 1, None, None].astype(np.float32)
    return values


def is_plain(head: Any) -> bool:
    """True if pixels can be read as they are: grey, uncompressed, little endian, whole bytes, all bits used
    in the plain way, rescaled by slope and intercept alone."""
    import pydicom  # noqa: F401  (the whole first: threads import at once)
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    syntax = head.file_meta.get("TransferSyntaxUID") if hasattr(head, "file_meta") else None
    bits = int(head.get("BitsAllocated") or 0)
    return (
        syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
        and bits in (8, 16)
        and int(head.get("SamplesPerPixel") or 0) == 1
        and head.get("PhotometricInterpretation") == "MONOCHROME2"
        and 0 < int(head.get("BitsStored") or 0) <= bits
        and frame_count(head) == 1
        and not head.get("ModalityLUTSequence")
    )


def plain_dtype(head: Any) -> np.dtype[Any]:
    """The dtype of uncompressed pixels in the file, of a header that `is_plain`."""
    kind = "i" if int(head.get("PixelRepresentation") or 0) else "u"
    return np.dtype(f"<{kind}{int(head.BitsAllocated) // 8}")


def rescaling(head: Any, frame: int = 0) -> tuple[float, float]:
    """Slope and intercept of a frame's modality LUT, of its functional groups or the root; (1, 0) where none is.

    Raises UserError for a slope of 0.
    """
    slope, intercept = frame_value(head, "RescaleSlope", frame), frame_value(head, "RescaleIntercept", frame)
    found = (1.0 if slope is None else float(slope)), float(intercept or 0)
    if found[0] == 0:
        raise UserError("its rescale slope is 0, which leaves nothing of its values", hint="repair the header")
    return found


def unused_bits_cleared(stored: Array, head: Any, where: str) -> Array:
    """Stored values with the bits outside Bits Stored cleared: overlays and whatever else lies there is no part of them
    (PS3.5 8.1.1). Signed values get their sign from High Bit. Changes nothing where all bits are used."""
    allocated, bits = 8 * stored.dtype.itemsize, int(head.get("BitsStored") or 0)
    if stored.dtype.kind not in "iu" or int(head.get("BitsAllocated") or 0) != allocated:
        return stored
    high = head.get("HighBit")
    high = bits - 1 if high is None else int(high)
    if not 0 < bits <= allocated or not bits - 1 <= high < allocated:
        raise UserError(
            f"its header claims {bits} bits up to bit {high}, of {allocated}", where, "BitsStored and HighBit disagree"
        )
    if bits == allocated:
        return stored
    order, below = stored.dtype.newbyteorder("="), high - bits + 1
    if order.kind == "u":
        shifted = stored >> order.type(below) if below else stored
        return np.asarray(shifted & order.type((1 << bits) - 1))
    values = stored.astype(order)  # to the top and back: the sign is drawn along
    values <<= order.type(allocated - 1 - high)
    values >>= order.type(allocated - bits)
    return values


def _rescaled(values: Array, stored: Array, dataset: Any, frame: int) -> Array:
    """Values after pydicom's modality LUT, or by the slope of functional groups, which it does not look at."""
    if values is not stored or not any(dataset.get(key) for key in (SHARED, PER_FRAME)):
        return values
    slope, intercept = rescaling(dataset, frame)
    return stored if (slope, intercept) == (1.0, 0.0) else stored * slope + intercept


def _stored(dataset: Any, where: str, *, frame: int | None = None) -> Array:
    """Decode by pydicom and clear unused bits; run lengths by its own decoder, since others abort on damaged ones.

    `frame`: the only one that is decoded."""
    import pydicom  # noqa: F401  (the whole first: threads import at once)
    from pydicom.uid import RLELossless

    syntax = dataset.file_meta.TransferSyntaxUID
    plainly = not syntax.is_encapsulated or syntax == RLELossless  # the bits lie in the file as the header says
    plugin = "pydicom" if syntax == RLELossless else ""
    dataset.pixel_array_options(index=frame, decoding_plugin=plugin)
    bits, high = int(dataset.get("BitsStored") or 0), int(dataset.get("HighBit") or 0)
    if high in (0, bits - 1):
        stored = np.asarray(dataset.pixel_array)
    elif plainly:
        stored = _all_bits(dataset)
    else:
        raise UserError(f"its header claims {bits} bits up to bit {high} in a compressed file", where)
    grey = int(dataset.get("SamplesPerPixel") or 1) == 1
    return unused_bits_cleared(stored, dataset, where) if grey else stored


def _all_bits(dataset: Any) -> Array:
    """Read all allocated bits: pydicom ignores High Bit and starts at the lowest one."""
    own = {key: dataset[key].value for key in ("BitsStored", "HighBit")}
    try:
        dataset.BitsStored = int(dataset.BitsAllocated)
        dataset.HighBit = dataset.BitsStored - 1
        return np.array(dataset.pixel_array)
    finally:
        for key, value in own.items():
            setattr(dataset, key, value)


def check_dataset(dataset: Any, where: str) -> None:
    """Check the header against the stored bytes before anything is decoded."""
    for keyword in ("FloatPixelData", "DoubleFloatPixelData"):
        if keyword in dataset and "PixelData" not in dataset:
            hint = "convert it, for example to NIfTI by dcmqi's paramap2itkimage"
            raise UserError("is a parametric map: its values are floating point, which is not read", where, hint)
    if "Rows" not in dataset or "Columns" not in dataset or "PixelData" not in dataset:
        raise UserError("is not a DICOM image (it has no pixel data)", where)
    check_declared_size(dataset, where)
    if "file_meta" not in dataset.__dict__ or "TransferSyntaxUID" not in dataset.file_meta:
        import pydicom  # noqa: F401  (the whole first: threads import at once)
        from pydicom.dataset import FileMetaDataset
        from pydicom.uid import ImplicitVRLittleEndian

        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian


def _turned_over(values: Array, dataset: Any) -> Array:
    """Invert grey values within the range of the dtype."""
    bits, signed = int(dataset.BitsStored), bool(dataset.PixelRepresentation)
    ends = np.array([-(1 << bits - 1), (1 << bits - 1) - 1] if signed else [0, (1 << bits) - 1], float)
    if values.dtype.kind == "f":
        slope, intercept = rescaling(dataset)
        ends = ends * slope + intercept
        if dataset.get("ModalityLUTSequence"):
            ends = np.array([0, (1 << int(dataset.ModalityLUTSequence[0].LUTDescriptor[2])) - 1], float)
    turned: Array = (ends.sum() - values.astype(float)).astype(values.dtype)
    return turned
