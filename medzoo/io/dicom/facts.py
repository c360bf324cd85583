"""What of a DICOM header the steps and writers may know: never who the patient is."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from medzoo.io.dicom.faults import said


def facts_of(head: Any) -> dict[str, Any]:
    """`modality`, `window` (centre, width), `burnt_in` where the header says that the pixels show who the patient is
    (Burned In Annotation, PS3.3 C.7.6.1.1.2) and, of a PET, `suvbw`: the factor from Bq/ml to SUV by body weight,
    or `suvbw_lacks`: why there is none."""
    facts: dict[str, Any] = {"modality": str(head.get("Modality", ""))}
    window = _window(head)
    if window is not None:
        facts["window"] = window
    if str(head.get("BurnedInAnnotation", "")).strip().upper() == "YES":
        facts["burnt_in"] = True
    if facts["modality"] == "PT":
        try:
            facts["suvbw"] = suvbw_factor(head)
        except (ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
            facts["suvbw_lacks"] = said(error)
    return facts


def suvbw_factor(head: Any) -> float:
    """SUV by body weight of one Bq/ml, as QIBA's profile has it: weight in grams over the dose at the time to which
    the images are decay corrected.

    DecayCorrection START: the dose decays from its injection to the start of the series; ADMIN: not at all.
    Raises ValueError that says what the header lacks.
    """
    units, correction = str(head.get("Units", "")), str(head.get("DecayCorrection", ""))
    if units == "GML":
        return 1.0
    if units != "BQML":
        raise ValueError(f"its units are {units or 'not given'}, not BQML")
    if correction not in ("START", "ADMIN"):
        raise ValueError(f"its decay correction is {correction or 'not given'}, neither START nor ADMIN")
    sequence = head.get("RadiopharmaceuticalInformationSequence")
    drug = sequence[0] if sequence else {}
    weight = float(head.get("PatientWeight") or 0)
    dose, half = float(drug.get("RadionuclideTotalDose") or 0), float(drug.get("RadionuclideHalfLife") or 0)
    for value, name in ((weight, "patient's weight"), (dose, "injected dose"), (half, "half life")):
        if value <= 0:
            raise ValueError(f"the {name} is not given")
    if correction == "START":
        dose *= 2.0 ** (-_waited(head, drug) / half)
    return 1000.0 * weight / dose


def _waited(head: Any, drug: Any) -> float:
    """Seconds from the injection to the start of the series, over midnight if need be."""
    day = str(head.get("SeriesDate") or head.get("AcquisitionDate") or "")
    scan = _moment(day, str(head.get("SeriesTime") or head.get("AcquisitionTime") or ""), "series")
    stamp = str(drug.get("RadiopharmaceuticalStartDateTime") or "")
    if stamp:
        injected = _moment(stamp[:8], stamp[8:].split("+")[0].split("-")[0], "injection")
        return _positive((scan - injected).total_seconds())
    injected = _moment(day, str(drug.get("RadiopharmaceuticalStartTime") or ""), "injection")
    if injected > scan:  # a time without a date, and midnight between the two
        injected -= timedelta(days=1)
    return _positive((scan - injected).total_seconds())


def _positive(seconds: float) -> float:
    if not 0 <= seconds < 86_400:
        raise ValueError("the injection is not in the day before the series")
    return seconds


def _moment(day: str, time: str, what: str) -> datetime:
    if len(day) != 8 or len(time) < 6:
        raise ValueError(f"the time of the {what} is not given")
    whole, _, part = time.partition(".")
    return datetime.strptime(day + whole[:6], "%Y%m%d%H%M%S") + timedelta(seconds=float(f"0.{part or 0}"))


def _window(head: Any) -> tuple[float, float] | None:
    """The first window that a header names: centre and width."""
    centre, width = head.get("WindowCenter"), head.get("WindowWidth")
    if centre is None or width is None:
        return None
    try:
        first = [float(v) if isinstance(v, str | float | int) else float(v[0]) for v in (centre, width)]
    except (ValueError, IndexError, TypeError):
        return None
    return (first[0], first[1]) if first[1] > 0 else None
