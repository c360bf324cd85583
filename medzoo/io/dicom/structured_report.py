"""Detections as DICOM SR: a measurement report (TID 1500) with one planar region (TID 1410) a detection.

A box on a picture is a closed polyline in its pixels. A box in a volume is the polygon in which it cuts its middle
plane, in patient millimetres (LPS), and its depth across that plane as a measurement; `read_report` makes the box
of it again. A detection with a mask refers to its segment in a SEG (in a volume TID 1411), and shares its tracking
UID. Measurements are numeric items with units of UCUM. A report of no boxes has one group without a region (TID 1500
wants one), which says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from medzoo.errors import UserError, missing_extra
from medzoo.io.atomic import atomic_path
from medzoo.io.deidentify import Deidentifier
from medzoo.io.dicom.codes import type_code
from medzoo.io.dicom.deidentify import redact_message, without_time
from medzoo.io.dicom.geometry import LPS_TO_RAS
from medzoo.io.dicom.headers import read_dataset
from medzoo.io.dicom.source import source_headers
from medzoo.types import Array, Image

DEPTH = ("131197000", "SCT", "Depth")
NOTHING = ("nothing", "99MEDZOO", "Nothing found by the model")
CERTAINTY = ("111012", "DCM", "Certainty of Finding")
CUT = ("CUT_BY_BORDER", "99MEDZOO", "Cut by the border of the image")
_MEASURED = {
    meaning: (value, scheme, meaning)
    for value, scheme, meaning in (
        ("103339001", "SCT", "Long Axis"),
        ("103340004", "SCT", "Short Axis"),
        ("L0JK", "IBSI", "Maximum 3D Diameter"),
        ("42798000", "SCT", "Area"),
        ("118565006", "SCT", "Volume"),
        ("112031", "DCM", "Attenuation Coefficient"),
        ("PIXEL_VALUE", "99MEDZOO", "Pixel value"),
    )
}
_DERIVED = {"Mean": ("373098007", "SCT", "Mean"), "Standard Deviation": ("386136009", "SCT", "Standard Deviation")}
_UNITS = {
    "mm": "millimeter",
    "mm2": "square millimeter",
    "ml": "milliliter",
    "{pixels}": "pixels",
    "[hnsf'U]": "Hounsfield unit",
    "1": "no units",
}


class MeasuresLike(Protocol):
    """Measurements of one object (medzoo.imaging.measures)."""

    @property
    def unit(self) -> str: ...
    @property
    def long(self) -> float: ...
    @property
    def short(self) -> float: ...
    @property
    def extent(self) -> float | None: ...
    @property
    def size(self) -> float: ...
    @property
    def mean(self) -> float | None: ...
    @property
    def sd(self) -> float | None: ...
    @property
    def centre(self) -> tuple[float, ...]: ...
    @property
    def cut_by_border(self) -> bool: ...


@dataclass(frozen=True, eq=False)
class Finding:
    """A detection as it stands in a report: `corners` (4, 2) in pixels, edges of the first pixel at 0, or (4, 3) in
    RAS millimetres, with `depth` across them; or the number of its `segment` in a SEG. `measured`: name, value and unit
    (UCUM) of its measurements."""

    label: str
    score: float
    corners: Array
    depth: float | None
    segment: int | None = None
    measured: tuple[tuple[str, float, str], ...] = ()


def write_report(
    path: str | Path,
    boxes: Array,
    scores: Array,
    names: Sequence[str],
    image: Image,
    *,
    model: str,
    version: str,
    measures: Sequence[MeasuresLike] = (),
    segmentation: Path | None = None,
    segments: Mapping[int, int] | None = None,
    parameters: Sequence[str] = (),
    deidentify: Deidentifier | None = None,
) -> Path:
    """Write boxes (N, 2n) of `image`, which was read from DICOM, with `scores` (N,) and a label each; returns the path.

    `measures` (N,) become numeric items. `segmentation`: a SEG of the same image, which the detections refer to in
    place of a region: `segments` gives the number of a detection's segment by its row. `parameters`: what else is said
    of the algorithm, such as its guard's verdict. Raises UserError for a source that is not DICOM, and if what was
    written is not what is read back.
    """
    try:
        import highdicom as hd
    except ImportError:
        raise missing_extra("highdicom", "dicom") from None
    import pydicom  # noqa: F401  (the whole first: threads import at once)
    from pydicom.uid import generate_uid

    path = Path(path)
    heads = source_headers(image, deidentify=deidentify)
    seg = None if segmentation is None else hd.seg.segread(segmentation)
    numbers = segments or {}
    findings = [
        replace(
            _finding(box, float(score), name, image),
            segment=numbers.get(row),
            measured=tuple(_numbers(measures[row], heads[0])) if measures else (),
        )
        for row, (box, score, name) in enumerate(zip(np.asarray(boxes, float), scores, names, strict=True))
    ]
    device = hd.sr.ObserverContext(
        observer_type=hd.sr.CodedConcept("121007", "DCM", "Device"),
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=generate_uid(entropy_srcs=["medzoo", model, version]), name=model[:64], manufacturer_name="medzoo"
        ),
    )
    algorithm = hd.sr.AlgorithmIdentification(name=model, version=version, parameters=list(parameters) or None)
    try:
        report = hd.sr.MeasurementReport(
            observation_context=hd.sr.ObservationContext(observer_device_context=device),
            procedure_reported=hd.sr.CodedConcept("363679005", "SCT", "Imaging procedure"),
            imaging_measurements=[
                _group(
                    hd,
                    f,
                    number,
                    heads,
                    algorithm,
                    frame=image.meta.get("frame"),
                    seg=seg,
                    cut=measures[number - 1].cut_by_border if measures else None,
                )
                for number, f in enumerate(findings, 1)
            ]
            or [_nothing(hd, algorithm)],
            title=hd.sr.CodedConcept("126000", "DCM", "Imaging Measurement Report"),
            referenced_images=heads if _in_library(hd, heads[0]) else None,
        )
        made = hd.sr.Comprehensive3DSR(
            evidence=heads if seg is None else [*heads, seg],
            content=report,
            series_instance_uid=generate_uid(),
            series_number=int(heads[0].get("SeriesNumber") or 0) % 10_000 * 100 + 2,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer="medzoo",
            is_complete=True,
        )
    except (ValueError, AttributeError, TypeError, KeyError) as error:  # a source header that highdicom cannot use
        raise UserError(f"its header lacks what a DICOM SR needs: {redact_message(error)}", image.source) from error
    if deidentify is not None:
        without_time(made)
    with atomic_path(path) as beside:
        made.save_as(beside)
        _compare(read_report(beside), findings, where=str(path))
    return path


def read_report(path: str | Path) -> list[Finding]:
    """The findings of a report that `write_report` wrote. Raises UserError for a file that is none."""
    dataset = read_dataset(Path(path), str(path))
    found: list[Finding] = []
    for container in _items(dataset, "CONTAINER"):
        if _code(container, "ConceptNameCodeSequence")[0] != "125007":  # Measurement Group
            continue
        label, score, corners, depth, segment = "", 0.0, None, None, None
        measured: list[tuple[str, float, str]] = []
        for item in container.ContentSequence:
            name = _code(item, "ConceptNameCodeSequence")
            if name[0] == "121071":  # Finding
                label = _code(item, "ConceptCodeSequence")[2]
            elif item.ValueType == "NUM":
                value = float(item.MeasuredValueSequence[0].NumericValue)
                if name[0] == CERTAINTY[0]:
                    score = value / 100
                elif name[0] == DEPTH[0]:
                    depth = value
                else:
                    derived = [_code(one, "ConceptCodeSequence")[2] for one in _items(item, "CODE")]
                    unit = str(item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue)
                    measured.append((", ".join([name[2], *derived]), value, unit))
            elif item.ValueType == "IMAGE" and "ReferencedSegmentNumber" in item.ReferencedSOPSequence[0]:
                segment = int(item.ReferencedSOPSequence[0].ReferencedSegmentNumber)
            elif item.ValueType == "SCOORD":
                corners = np.array(item.GraphicData, float).reshape(-1, 2)[:4]
            elif item.ValueType == "SCOORD3D":
                corners = np.array(item.GraphicData, float).reshape(-1, 3)[:4] * [-1, -1, 1]
        if corners is None and segment is None and label == NOTHING[2]:
            continue
        if corners is None and segment is None:
            raise UserError("holds a finding without a region", str(path))
        corners = np.empty((0, 2)) if corners is None else corners
        found.append(Finding(label, score, corners, depth, segment, tuple(measured)))
    return found


def finding_box(finding: Finding, affine: Array | None) -> Array:
    """The box (2n,) of a finding, on a picture or on the grid of `affine`."""
    if affine is None:
        return np.concatenate([finding.corners.min(axis=0), finding.corners.max(axis=0)])
    points = np.linalg.inv(affine) @ np.c_[finding.corners, np.ones(4)].T
    low, high = points[:3].min(axis=1) + 0.5, points[:3].max(axis=1) + 0.5
    half = (finding.depth or 0.0) / np.linalg.norm(affine[:3, 2]) / 2
    low[2], high[2] = low[2] - half, high[2] + half
    return np.concatenate([low, high])


def _finding(box: Array, score: float, label: str, image: Image) -> Finding:
    meaning = type_code(label)[2]
    if image.affine is None:
        x0, y0, x1, y1 = box
        return Finding(meaning, score, np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]), None)
    (i0, j0, k0), (i1, j1, k1) = box[:3] - 0.5, box[3:] - 0.5
    middle = (k0 + k1) / 2
    corners = np.array([[i0, j0, middle, 1], [i1, j0, middle, 1], [i1, j1, middle, 1], [i0, j1, middle, 1]])
    depth = float(k1 - k0) * float(np.linalg.norm(image.affine[:3, 2]))
    return Finding(meaning, score, (image.affine @ corners.T).T[:, :3], depth)


def _numbers(measures: MeasuresLike, head: Any) -> Iterator[tuple[str, float, str]]:
    """Name, value and unit (UCUM) of the measurements of a finding; names are those of `_MEASURED`."""
    lengths = {"Long Axis": measures.long, "Short Axis": measures.short, "Maximum 3D Diameter": measures.extent}
    unit = "mm" if measures.unit == "mm" else "{pixels}"
    yield from ((name, float(f"{value:.6g}"), unit) for name, value in lengths.items() if value is not None)
    if len(measures.centre) == 3:
        yield "Volume", float(f"{measures.size / 1000:.6g}"), "ml"
    else:
        yield "Area", float(f"{measures.size:.6g}"), "mm2" if measures.unit == "mm" else "{pixels}"
    values, of = ("Attenuation Coefficient", "[hnsf'U]") if head.get("Modality") == "CT" else ("Pixel value", "1")
    for derived, value in (("Mean", measures.mean), ("Standard Deviation", measures.sd)):
        if value is not None:
            yield f"{values}, {derived}", float(f"{value:.6g}"), of


def _measurement(hd: Any, name: str, value: float, unit: str) -> Any:
    name, _, derived = name.partition(", ")
    return hd.sr.Measurement(
        hd.sr.CodedConcept(*_MEASURED[name]),
        value,
        hd.sr.CodedConcept(unit, "UCUM", _UNITS[unit]),
        derivation=hd.sr.CodedConcept(*_DERIVED[derived]) if derived else None,
    )


def _group(
    hd: Any,
    finding: Finding,
    number: int,
    heads: Sequence[Any],
    algorithm: Any,
    *,
    frame: int | None,
    seg: Any,
    cut: bool | None,
) -> Any:
    closed = np.concatenate([finding.corners, finding.corners[:1]])
    percent = hd.sr.CodedConcept("%", "UCUM", "Percent")
    measured = [hd.sr.Measurement(hd.sr.CodedConcept(*CERTAINTY), round(100 * finding.score, 4), percent)]
    region = None
    common: dict[str, Any] = {}
    if cut is not None:
        answer = ("373066001", "SCT", "Yes") if cut else ("373067005", "SCT", "No")
        common["qualitative_evaluations"] = [
            hd.sr.QualitativeEvaluation(hd.sr.CodedConcept(*CUT), hd.sr.CodedConcept(*answer))
        ]
    if finding.segment is not None:
        if finding.depth is not None:
            measured += [_measurement(hd, *one) for one in finding.measured]
            return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
                tracking_identifier=_tracking(hd, seg, finding.segment),
                referenced_segment=hd.sr.ReferencedSegment.from_segmentation(seg, finding.segment),
                finding_type=_concept(hd, finding.label),
                algorithm_id=algorithm,
                measurements=measured,
                **common,
            )
        common["referenced_segment"] = hd.sr.ReferencedSegmentationFrame.from_segmentation(
            seg, segment_number=finding.segment
        )
    elif finding.depth is None:
        source = hd.sr.SourceImageForRegion(
            heads[0].SOPClassUID, heads[0].SOPInstanceUID, None if frame is None else [frame + 1]
        )
        region = hd.sr.ImageRegion(hd.sr.GraphicTypeValues.POLYLINE, closed, source)
    else:
        lps = closed @ LPS_TO_RAS[:3, :3]
        region = hd.sr.ImageRegion3D(hd.sr.GraphicTypeValues3D.POLYGON, lps, heads[0].FrameOfReferenceUID)
        millimetre = hd.sr.CodedConcept("mm", "UCUM", "millimeter")
        measured.append(hd.sr.Measurement(hd.sr.CodedConcept(*DEPTH), round(finding.depth, 6), millimetre))
    measured += [_measurement(hd, *one) for one in finding.measured]
    identifier = hd.sr.TrackingIdentifier(identifier=f"{finding.label} {number}")
    return hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=identifier if finding.segment is None else _tracking(hd, seg, finding.segment),
        referenced_region=region,
        finding_type=_concept(hd, finding.label),
        algorithm_id=algorithm,
        measurements=measured,
        **common,
    )


def _tracking(hd: Any, seg: Any, segment: int) -> Any:
    """The tracking identifier of a segment, which its measurements share."""
    description = seg.get_segment_description(segment)
    return hd.sr.TrackingIdentifier(uid=description.tracking_uid, identifier=description.tracking_id)


def _in_library(hd: Any, head: Any) -> bool:
    """True if highdicom can describe an image in the library (TID 1600, optional): no enhanced and no sparse header."""
    try:
        hd.sr.ImageLibraryEntryDescriptors(head)
    except (ValueError, AttributeError, TypeError, KeyError):
        return False
    return True


def _nothing(hd: Any, algorithm: Any) -> Any:
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(identifier="nothing"),
        finding_type=hd.sr.CodedConcept(*NOTHING),
        algorithm_id=algorithm,
    )


def _concept(hd: Any, meaning: str) -> Any:
    from medzoo.io.dicom.codes import KNOWN

    label = next((name for name, (_, _, words) in KNOWN.items() if words == meaning), meaning)
    return hd.sr.CodedConcept(*type_code(label))


def _items(dataset: Any, kind: str) -> list[Any]:
    found = []
    for item in dataset.get("ContentSequence") or []:
        if item.ValueType == kind:
            found.append(item)
        found += _items(item, kind)
    return found


def _code(item: Any, key: str) -> tuple[str, str, str]:
    sequence = item.get(key)
    if not sequence:
        return "", "", ""
    return str(sequence[0].get("CodeValue", "")), str(sequence[0].CodingSchemeDesignator), str(sequence[0].CodeMeaning)


def _compare(found: Sequence[Finding], wanted: Sequence[Finding], *, where: str) -> None:
    same = len(found) == len(wanted) and all(
        a.label == b.label
        and abs(a.score - b.score) < 1e-5
        and a.segment == b.segment
        and (b.segment is not None or np.abs(a.corners - b.corners).max() < 1e-3)
        and (b.segment is not None or abs((a.depth or 0) - (b.depth or 0)) < 1e-3)
        and [(name, unit) for name, _, unit in a.measured] == [(name, unit) for name, _, unit in b.measured]
        and np.allclose([value for _, value, _ in a.measured], [value for _, value, _ in b.measured], rtol=1e-5)
        for a, b in zip(found, wanted, strict=True)
    )
    if not same:
        raise UserError("the findings read back differ from those written", where, "this is a bug")
