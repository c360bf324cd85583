"""DICOM objects that hold pixels and are no images: segmentations, dose grids, parametric maps."""

from __future__ import annotations

from typing import Any

from medzoo.errors import UserError

SERIES = "give the image series that it was made for"
# Storage classes of PS3.4 B.5, what they hold, and the way out.
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
OTHERS = {
    "1.2.840.10008.5.1.4.1.1.481.2": ("is a radiotherapy dose, not an image", SERIES),
    "1.2.840.10008.5.1.4.1.1.30": (
        "is a parametric map, not an image: what its values mean is not read",
        "convert it, for example to NIfTI by dcmqi's paramap2itkimage",
    ),
}
_BY_MODALITY = {"RTDOSE": "1.2.840.10008.5.1.4.1.1.481.2"}


def refuse_derived(dataset: Any, where: str, *, labels: bool) -> None:
    """Refuse objects whose pixels are no image; with `labels`, a segmentation of one label a voxel passes.

    Raises UserError that says what the object is, and what to give in its place.
    """
    modality = str(dataset.get("Modality") or "")
    kind = str(dataset.get("SOPClassUID") or "")
    kind = kind if kind in (*SEGMENTATIONS, *OTHERS) else _BY_MODALITY.get(modality, kind)
    if kind in OTHERS:
        raise UserError(OTHERS[kind][0], where, OTHERS[kind][1])
    if kind not in SEGMENTATIONS and modality != "SEG" and not dataset.get("SegmentSequence"):
        return
    several = len(dataset.get("SegmentSequence") or ()) > 1
    if not labels:
        count = "several segments" if several else "one segment"
        raise UserError(f"is a DICOM segmentation of {count}, not an image", where, SERIES)
    form = str(dataset.get("SegmentationType") or "BINARY")
    if form == "FRACTIONAL":
        raise UserError(
            "is a fractional DICOM segmentation: its values are no labels", where, "save it as a binary one"
        )
    if several and form != "LABELMAP":
        raise UserError("is a DICOM segmentation of several segments", where, "save it as a label map, or one segment")
