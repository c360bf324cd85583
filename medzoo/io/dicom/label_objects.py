"""Read DICOM SEG and RTSTRUCT as masks on the grid of the image they belong to.

SEG: PS3.3 A.51 and C.8.20; frames lie where their own positions say, and may be fewer than the image's slices.
RTSTRUCT: PS3.3 C.8.8.6; contours in one plane of the image are joined by exclusive or, so that one within another is a
hole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.errors import UserError
from medzoo.io.dicom.functional_groups import PER_FRAME, frame_count, frame_value
from medzoo.io.dicom.geometry import LPS_TO_RAS, planes_of
from medzoo.io.dicom.headers import read_dataset, walk
from medzoo.types import Array, Image

SEG = "1.2.840.10008.5.1.4.1.1.66"  # the beginning of the classes of segmentations, label maps included
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
OFF_PLANE = 0.5  # voxels that the points of a contour may lie off one plane
ON_GRID = 0.05  # voxels within which a frame lies on the image's own grid

Masks = Mapping[str, Array]


def is_label_object(head: Any) -> bool:
    """True for the header of a SEG or an RTSTRUCT."""
    kind = str(head.get("SOPClassUID", ""))
    return kind in (RTSTRUCT, SEG) or kind.startswith(f"{SEG}.")


def referenced_uids(head: Any) -> set[str]:
    """UIDs of the series, and of the single images, that an object says it belongs to."""
    keys = ("SeriesInstanceUID", "ReferencedSOPInstanceUID")
    own = str(head.get("SeriesInstanceUID", ""))
    found = {str(element.value) for element in walk(head) if element.keyword in keys and element.value}
    return found - {own}


def structure_names(head: Any) -> list[str]:
    """Names of the segments or regions of an object, in its order; a label map's background is none."""
    if str(head.get("SOPClassUID", "")) == RTSTRUCT:
        return [str(row.get("ROIName", "")).strip() for row in head.get("StructureSetROISequence") or []]
    rows = head.get("SegmentSequence") or []
    return [str(row.get("SegmentLabel", "")).strip() for row in rows if int(row.get("SegmentNumber", 0)) > 0]


def read_label_object(path: str | Path, like: Image) -> Masks:
    """Masks (I, J, K) bool on the grid of `like` by the name of each segment or region; those without a voxel too.

    Raises UserError for an object elsewhere in space, or with contours that lie across the image's slices.
    """
    where = str(path)
    if like.affine is None:
        raise UserError("belongs to a picture without a place in space", where, "labels of DICOM are for volumes")
    dataset = read_dataset(Path(path), where)
    if not is_label_object(dataset):
        raise UserError("is neither a SEG nor an RTSTRUCT", where)
    rtstruct = str(dataset.SOPClassUID) == RTSTRUCT
    return _contours(dataset, like, where) if rtstruct else _segments(dataset, like, where)


def _segments(dataset: Any, like: Image, where: str) -> Masks:
    rows = dataset.get("SegmentSequence") or []
    names = {int(row.SegmentNumber): str(row.get("SegmentLabel", "")).strip() for row in rows}
    kind = str(dataset.get("SegmentationType", ""))
    frames = np.asarray(dataset.pixel_array).reshape(-1, int(dataset.Rows), int(dataset.Columns))
    if len(dataset.get(PER_FRAME) or []) != frame_count(dataset):
        raise UserError("has no positions of its frames", where)
    masks = {number: np.zeros(like.shape, bool) for number in names if number > 0}
    inverse = np.linalg.inv(np.asarray(like.affine))
    half = float(dataset.get("MaximumFractionalValue", 1) or 1) / 2
    inside = 0
    for number, (values, plane) in enumerate(zip(frames, planes_of(dataset, where), strict=True)):
        to_ras = np.eye(4)
        to_ras[:3, 0], to_ras[:3, 1] = plane.turn[:3] * plane.spacing[1], plane.turn[3:] * plane.spacing[0]
        to_ras[:3, 2], to_ras[:3, 3] = plane.normal * plane.thickness, plane.position
        to_index = inverse @ LPS_TO_RAS @ to_ras
        if kind == "LABELMAP":
            wanted = {segment: values == segment for segment in np.unique(values).tolist() if segment in masks}
        else:
            segment = int(frame_value(dataset, "ReferencedSegmentNumber", number) or 0)
            if segment not in masks:
                raise UserError(f"frame {number + 1} belongs to segment {segment}, which it does not describe", where)
            wanted = {segment: values > (half if kind == "FRACTIONAL" else 0)}
        for segment, mask in wanted.items():
            inside += _put(mask, to_index, masks[segment])
    if not inside and any(values.any() for values in frames):
        raise UserError("lies outside its image in space", where, "it belongs to another series")
    return _named({names[number]: mask for number, mask in masks.items()}, names, where)


def _put(mask: Array, to_index: Array, out: Array) -> int:
    """Set in `out` what a frame's `mask` (rows, columns) covers; the number of voxels. `to_index`: from (column, row,
    slice) of the frame to indices of `out`."""
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return 0
    whole = np.rint(to_index[:3, :2])
    aligned = np.abs(to_index[:3, :2] - whole).max() * max(mask.shape) < ON_GRID and np.abs(whole).sum() == 2
    points = to_index[:3, :3] @ np.array([columns, rows, np.zeros_like(rows)], float) + to_index[:3, 3:]
    if aligned:
        places = np.rint(points).astype(int)
    else:
        # Another grid: the voxels around whose centre lies in a set pixel, within half a slice of the frame.
        low = np.maximum(np.floor(points.min(axis=1)).astype(int) - 1, 0)
        high = np.minimum(np.ceil(points.max(axis=1)).astype(int) + 2, out.shape)
        if (high <= low).any():
            return 0
        grid = np.stack([axis.ravel() for axis in np.mgrid[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]])
        back = np.linalg.inv(to_index)
        column, row, off = back[:3, :3] @ grid + back[:3, 3:]
        column, row = np.rint(column).astype(int), np.rint(row).astype(int)
        held = (column >= 0) & (column < mask.shape[1]) & (row >= 0) & (row < mask.shape[0])
        held &= (off >= -0.5) & (off < 0.5)
        held[held] = mask[row[held], column[held]]
        places = grid[:, held]
    kept = ((places >= 0) & (places < np.array(out.shape)[:, None])).all(axis=0)
    places = places[:, kept]
    out[tuple(places)] = True
    return int(places.shape[1])


def _contours(dataset: Any, like: Image, where: str) -> Masks:
    names = {
        int(row.ROINumber): str(row.get("ROIName", "")).strip() for row in dataset.get("StructureSetROISequence") or []
    }
    inverse = np.linalg.inv(np.asarray(like.affine)) @ LPS_TO_RAS
    found = {number: np.zeros(like.shape, bool) for number in names}
    for roi in dataset.get("ROIContourSequence") or []:
        number = int(roi.ReferencedROINumber)
        if number not in names:
            raise UserError(f"has contours of region {number}, which it does not name", where)
        planes: dict[tuple[int, int], list[Array]] = defaultdict(list)
        for contour in roi.get("ContourSequence") or []:
            kind = str(contour.get("ContourGeometricType", ""))
            if kind not in ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR"):
                continue
            points = np.asarray(contour.get("ContourData") or [], float).reshape(-1, 3)
            index = points @ inverse[:3, :3].T + inverse[:3, 3]
            if len(index) < 3:
                continue
            spread = np.ptp(index, axis=0)
            # The slices' own axis where the contour lies in one of them.
            axis = 2 if spread[2] <= OFF_PLANE else int(np.argmin(spread))
            if spread[axis] > OFF_PLANE:
                text = f"a contour of {names[number]!r} lies across the slices of its image"
                raise UserError(text, where, "it was drawn on another series, or the image was resampled")
            planes[axis, round(float(index[:, axis].mean()))].append(np.delete(index, axis, axis=1))
        for (axis, place), rings in planes.items():
            if 0 <= place < like.shape[axis]:
                view = np.moveaxis(found[number], axis, 0)
                view[place] |= _filled(rings, view.shape[1:])
        if planes and not found[number].any() and not any(0 <= place < like.shape[axis] for axis, place in planes):
            raise UserError(f"the region {names[number]!r} lies outside its image in space", where)
    return _named({names[number]: mask for number, mask in found.items()}, names, where)


def _filled(rings: list[Array], shape: tuple[int, ...]) -> Array:
    """Pixels whose centre, at a whole number, lies in an odd number of the polygons."""
    from skimage.draw import polygon2mask

    mask = np.zeros(shape, bool)
    for points in rings:
        mask ^= polygon2mask(shape, points)
    return mask


def _named(masks: dict[str, Array], names: Mapping[int, str], where: str) -> Masks:
    given = [name for number, name in names.items() if number > 0]
    twice = sorted({name for name in given if given.count(name) > 1})
    if twice:
        raise UserError(f"two structures are called {twice[0]!r}", where, "give each its own name")
    return masks
