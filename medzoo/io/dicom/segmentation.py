"""A mask as DICOM SEG (PS3.3 A.51), written by highdicom, read back and compared before it is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.errors import UserError, missing_extra
from medzoo.io.atomic import atomic_path
from medzoo.io.deidentify import Deidentifier
from medzoo.io.dicom.codes import category_code, type_code
from medzoo.io.dicom.deidentify import redact_message, without_time
from medzoo.io.dicom.functional_groups import PER_FRAME, SHARED, frame_count, frame_value
from medzoo.io.dicom.geometry import LPS_TO_RAS, planes_of
from medzoo.io.dicom.headers import read_dataset, walk
from medzoo.io.dicom.source import source_headers
from medzoo.types import Array, Image

PLACE_MM = 1e-3
_MOST_BYTES = 1 << 30  # of the masks of one object
# Enhanced storage classes and those of single frames: CT, MR, PET (PS3.4 B.5).
PLAIN = {
    "1.2.840.10008.5.1.4.1.1.2.1": "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.4.1": "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.130": "1.2.840.10008.5.1.4.1.1.128",
}


def write_segmentation(
    path: str | Path,
    mask: Array,
    image: Image,
    labels: Sequence[str],
    *,
    model: str,
    version: str,
    deidentify: Deidentifier | None = None,
) -> Path:
    """Write labels (*spatial) on the grid of `image`, which was read from DICOM, as one SEG object (binary, a
    segment for each of `labels` but the first); returns the path.

    Patient, study and frame of reference are the source's. Frames that hold nothing are left out, unless all
    are empty: then every slice is there and says so. Raises UserError for a source that is not DICOM, and if what
    was written is not what is read back, frame by frame and place by place.
    """
    stored = _frames(mask, image)
    made = _Maker(path, image, [(label, label) for label in labels[1:]], model, version, deidentify)
    return made.write(stored, lambda beside: _compare(beside, stored, image, where=str(path)))


def write_instances(
    path: str | Path,
    masks: Sequence[Array],
    image: Image,
    labels: Sequence[str],
    *,
    model: str,
    version: str,
    deidentify: Deidentifier | None = None,
) -> Path:
    """Write masks (*spatial) bool, which may overlap, as one SEG object with a segment each; returns the path.

    `labels`: of each mask; segment k is called after it and its number k, and has a tracking UID of its own. Raises
    UserError as `write_segmentation`, and for more masks than fit a gigabyte.
    """
    if len(masks) * np.prod(image.shape, dtype=float) > _MOST_BYTES:
        raise UserError(f"{len(masks)} masks of this size are too many for a DICOM SEG", image.source, "use labels")
    names = [(f"{label} {number}", label) for number, label in enumerate(labels, 1)]
    stored = np.stack([_frames(np.asarray(mask) != 0, image) for mask in masks], axis=-1)
    made = _Maker(path, image, names, model, version, deidentify, tracked=True)
    return made.write(stored, lambda beside: _compare_instances(beside, stored, where=str(path)))


@dataclass(frozen=True, eq=False)
class _Maker:
    """One SEG object to be: `segments`, the label of each and the label that its code is of."""

    path: str | Path
    image: Image
    segments: Sequence[tuple[str, str]]
    model: str
    version: str
    deidentify: Deidentifier | None
    tracked: bool = False

    def write(self, stored: Array, check: Callable[[Path], None]) -> Path:
        """Write `stored`, (frames, rows, columns) of segment numbers, or (frames, rows, columns, segments) of 0 and 1;
        `check` is given what was written before it is kept."""
        try:
            import highdicom as hd
        except ImportError:
            raise missing_extra("highdicom", "dicom") from None
        import pydicom  # noqa: F401  (the whole first: threads import at once)
        from pydicom.uid import generate_uid

        path, image, version = Path(self.path), self.image, self.version
        if "frame" in image.meta:
            raise UserError(
                "is one frame of a multi-frame file, for which no DICOM SEG can be written",
                image.source,
                "use --format png",
            )
        heads = source_headers(image, deidentify=self.deidentify)
        for head in heads:
            _give_thickness(head, image)
        algorithm = hd.AlgorithmIdentificationSequence(
            name=self.model, version=version, family=hd.sr.CodedConcept("123109", "DCM", "Artificial Intelligence")
        )
        descriptions = [
            hd.seg.SegmentDescription(
                segment_number=number,
                segment_label=name[:64],
                segmented_property_category=hd.sr.CodedConcept(*category_code(label)),
                segmented_property_type=hd.sr.CodedConcept(*type_code(label)),
                algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
                algorithm_identification=algorithm,
                tracking_id=name[:64] if self.tracked else None,
                tracking_uid=generate_uid() if self.tracked else None,
            )
            for number, (name, label) in enumerate(self.segments, 1)
        ]
        enhanced = _as_single_frames(heads)
        try:
            made = hd.seg.Segmentation(
                source_images=heads,
                pixel_array=stored,
                segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
                segment_descriptions=descriptions,
                series_instance_uid=generate_uid(),
                series_number=_series_number(heads),
                sop_instance_uid=generate_uid(),
                instance_number=1,
                manufacturer="medzoo",
                manufacturer_model_name=self.model[:64],
                software_versions=version,
                device_serial_number="none",
                content_label="MEDZOO",
                content_description=f"made by the model {self.model}"[:64],
                omit_empty_frames=bool(stored.any()),
            )
        except (ValueError, AttributeError, TypeError, KeyError) as error:  # a header that highdicom cannot use
            raise UserError(
                f"its header lacks what a DICOM SEG needs: {redact_message(error)}", image.source
            ) from error
        if enhanced is not None:
            for element in walk(made):
                if element.keyword == "ReferencedSOPClassUID":
                    element.value = enhanced
        if self.deidentify is not None:
            without_time(made)
        with atomic_path(path) as beside:
            made.save_as(beside)
            check(Path(beside))
        return path


def read_segmentation(path: str | Path) -> tuple[Array, Array, list[str]]:
    """Of a SEG with places in space: frames (F, rows, columns) uint8 of segment numbers, their affines (F, 4, 4) to
    RAS (third axis one millimetre along the normal), and the labels of the segments. Raises UserError."""
    dataset = read_dataset(Path(path), str(path))
    values = _bits(dataset)
    numbers = _segment_numbers(dataset)
    affines = []
    for plane in planes_of(dataset, str(path)):
        affine = np.eye(4)
        affine[:3, 0] = plane.turn[:3] * plane.spacing[1]
        affine[:3, 1] = plane.turn[3:] * plane.spacing[0]
        affine[:3, 2], affine[:3, 3] = plane.normal, plane.position
        affines.append(LPS_TO_RAS @ affine)
    labels = [str(segment.SegmentLabel) for segment in dataset.SegmentSequence]
    return values * np.array(numbers, np.uint8)[:, None, None], np.array(affines), labels


def _segment_numbers(dataset: Any) -> list[int]:
    """Segment number of each frame, from its own or the shared functional groups."""
    frames = dataset.get(PER_FRAME) or []
    found = [frame_value(dataset, "ReferencedSegmentNumber", number) for number in range(len(frames))]
    return [int(number) for number in found]


def _bits(dataset: Any) -> Array:
    return np.asarray(dataset.pixel_array, np.uint8).reshape(-1, int(dataset.Rows), int(dataset.Columns))


def _frames(mask: Array, image: Image) -> Array:
    """(frames, rows, columns) uint8 in the order of the source's files, or of its own frames."""
    labels = np.asarray(mask).astype(np.uint8, copy=False)
    if labels.shape != image.shape:
        raise ValueError(f"a mask of {labels.shape} for an image of {image.shape}")
    if image.affine is None:
        return np.ascontiguousarray(labels[None])
    frames = np.ascontiguousarray(labels.transpose(2, 1, 0))
    order = image.meta.get("frames")
    if order is None:
        return frames
    stored = np.empty_like(frames)
    stored[list(order)] = frames
    return stored


def _give_thickness(head: Any, image: Image) -> None:
    """Set a missing Slice Thickness to the distance of the slices, which highdicom and readers of a SEG look for; of a
    picture it stays empty (PS3.3 C.7.6.2, type 2)."""
    import pydicom  # noqa: F401  (the whole first: threads import at once)
    from pydicom.valuerep import DSfloat

    groups = [item for key in (SHARED, PER_FRAME) for item in head.get(key) or []]
    measures = [item for group in groups for item in group.get("PixelMeasuresSequence") or []]
    for place in measures or [head]:
        if not float(place.get("SliceThickness") or 0) > 0:
            place.SliceThickness = None if image.affine is None else DSfloat(image.spacing[2], auto_format=True)


def _as_single_frames(heads: Sequence[Any]) -> str | None:
    """Give enhanced images of one frame each the class of plain ones, since highdicom takes several images of no other;
    returns their own class, to which the SEG must refer."""
    own = str(heads[0].SOPClassUID)
    if own not in PLAIN or frame_count(heads[0]) > 1 or heads[0].get(PER_FRAME):
        return None
    for head in heads:
        head.SOPClassUID = PLAIN[own]
    return own


def _series_number(heads: Sequence[Any]) -> int:
    """A series number other than the source's."""
    return int(heads[0].get("SeriesNumber") or 0) % 10_000 * 100 + 1


def _compare(path: Path, stored: Array, image: Image, *, where: str) -> None:
    """Read the file back and compare every frame with its slice."""
    dataset = read_dataset(path, where)
    seen = np.zeros_like(stored)
    if image.affine is None:
        for number, bits in zip(_segment_numbers(dataset), _bits(dataset), strict=True):
            seen[0][bits > 0] = number
    else:
        frames, affines, _ = read_segmentation(path)
        to_index = np.linalg.inv(image.affine)
        order = image.meta.get("frames") or range(len(stored))
        for values, affine in zip(frames, affines, strict=True):
            corners = np.array([[0, 0, 0, 1], [values.shape[1] - 1, values.shape[0] - 1, 0, 1]], float).T
            place = (to_index @ affine @ corners)[:3]
            k = int(np.rint(place[2, 0]))
            expected = np.array([[0, 0, k, 1], [values.shape[1] - 1, values.shape[0] - 1, k, 1]], float).T
            if np.abs((image.affine @ expected - affine @ corners)[:3]).max() > PLACE_MM * max(1, *image.shape):
                raise UserError("a frame read back matches no slice of its source", where, "this is a bug")
            seen[order[k]][values > 0] = values[values > 0]
    if not np.array_equal(seen, stored):
        raise UserError("the pixels read back differ from those written", where, "this is a bug")


def _compare_instances(path: Path, stored: Array, *, where: str) -> None:
    """Read the file back and compare the pixels of every segment."""
    dataset = read_dataset(path, where)
    sizes = np.zeros(stored.shape[-1], np.int64)
    for number, bits in zip(_segment_numbers(dataset), _bits(dataset), strict=True):
        sizes[number - 1] += int(bits.sum())
        if not (stored[..., number - 1] == bits).all(axis=(1, 2)).any():
            raise UserError("the pixels read back differ from those written", where, "this is a bug")
    if not np.array_equal(sizes, stored.sum(axis=(0, 1, 2), dtype=np.int64)):
        raise UserError("the segments read back differ from those written", where, "this is a bug")
