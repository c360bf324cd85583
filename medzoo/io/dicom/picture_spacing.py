"""The size of a pixel of a DICOM picture at the patient, where its header states it."""

from __future__ import annotations

import math
from typing import Any

_CENTIMETRES = 3  # Physical Units X and Y Direction, PS3.3 C.8.5.5.1.15
_SQUARE = 0.01  # relative difference of the sides up to which a pixel is square
_ALIKE = 1e-3  # relative difference up to which two calibrations are one


def picture_spacing(head: Any) -> tuple[float, float] | None:
    """Height and width of a pixel in millimetres; None where the header does not say, or says several.

    Of a cross-section its Pixel Spacing, of an ultrasound picture the calibration of its regions (PS3.3 C.8.5.5). The
    Imager Pixel Spacing of a radiograph holds at the detector, not at the patient, and is not taken.
    """
    regions = head.get("SequenceOfUltrasoundRegions") or []
    if not regions:
        spacing = head.get("PixelSpacing")
        return _checked(spacing) if spacing is not None and len(spacing) == 2 else None
    found: list[tuple[float, float]] = []
    for region in regions:
        units = [region.get(f"PhysicalUnits{axis}Direction") for axis in "XY"]
        if units != [_CENTIMETRES] * 2:
            continue
        one = _checked([10 * abs(float(region.get(f"PhysicalDelta{axis}") or 0)) for axis in "YX"])
        if one is None:
            return None
        found.append(one)
    if not found or any(
        not math.isclose(a, b, rel_tol=_ALIKE) for one in found for a, b in zip(one, found[0], strict=True)
    ):
        return None
    return found[0]


def stretch_note(head: Any, spacing: tuple[float, float] | None) -> str | None:
    """Return a note on a picture whose pixels are not square; None if they are.

    Judged by its `spacing` or else its Pixel Aspect Ratio (height to width).
    """
    ratio = spacing
    if ratio is None:
        stated = head.get("PixelAspectRatio") or ()
        ratio = _checked(stated) if len(stated) == 2 else None
    if ratio is None or math.isclose(*ratio, rel_tol=_SQUARE):
        return None
    return f"its pixels are {ratio[0] / ratio[1]:.3g} times as high as wide; the picture is seen as if they were square"


def _checked(spacing: Any) -> tuple[float, float] | None:
    height, width = (float(value) for value in spacing)
    return (height, width) if 0 < height < math.inf and 0 < width < math.inf else None
