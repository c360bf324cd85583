"""Functional groups of enhanced images (PS3.3 C.7.6.16): attributes of a frame, of its own or shared by all."""

from __future__ import annotations

from typing import Any

SHARED, PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
# Where an enhanced image keeps what a single-frame image has at its root.
GROUPS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "SpacingBetweenSlices": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "WindowCenter": "FrameVOILUTSequence",
    "WindowWidth": "FrameVOILUTSequence",
    "ReferencedSegmentNumber": "SegmentIdentificationSequence",
}


def frame_count(dataset: Any) -> int:
    """Number of Frames, one where it is not given."""
    return int(dataset.get("NumberOfFrames") or 1)


def frame_value(dataset: Any, key: str, frame: int = 0) -> Any:
    """The attribute `key` of a frame: of its own functional groups, of the shared ones, else of the root; None if it
    is nowhere."""
    frames = dataset.get(PER_FRAME) or []
    for groups in [*(frames[frame : frame + 1]), *(dataset.get(SHARED) or [])]:
        if groups.get(GROUPS[key]):
            value = groups[GROUPS[key]][0].get(key)
            if value is not None:
                return value
    return dataset.get(key)


def at_root(head: Any) -> Any:
    """The header of an enhanced image of one frame with its functional groups at the root, as those who read single
    frames look for them; changed in place. Others are returned as they are."""
    if frame_count(head) > 1 or not (head.get(SHARED) or head.get(PER_FRAME)):
        return head
    found = {key: frame_value(head, key) for key in GROUPS}
    for key in (SHARED, PER_FRAME, "NumberOfFrames"):
        head.pop(key, None)
    for key, value in found.items():
        if value is not None:
            setattr(head, key, value)
    return head
