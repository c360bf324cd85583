"""The factor from stored activity to SUV by body weight, by QIBA's rules for every vendor.

Source: QIBA, "Standardized Uptake Value (SUV)", vendor-neutral pseudo-code; attributes of PS3.3 C.8.9.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

MOST_HALF_LIVES = 10  # after which less than a thousandth of a dose is left: a wrong time rather than a late scan
MOST_OVER_MIDNIGHT = 4  # half-lives, if the day before is only guessed: a scan in the night, not one in the morning
LONG_LIVED = 12 * 3600.0  # seconds of half life from which an injection may well have been on an earlier day
LEAST_DOSE = 1e4  # Bq; a smaller number is one of MBq or mCi
MOST_WEIGHT = 1000.0  # kg; a larger number is one of grams
GE, PHILIPS = "GEMS_PETD_01", "Philips PET Private Group"


def suvbw_factor(head: Any, heads: Sequence[Any] = ()) -> float:
    """SUV by body weight in g/ml of one unit of a PET image's rescaled values: weight over the dose at the time to
    which the images are decay corrected.

    `heads`: the headers of the whole series, since the scan begins with its earliest acquisition. Units GML are SUVs
    already; CNTS have Philips' own factor. Raises ValueError that names what is missing or contradicts itself.
    """
    units = str(head.get("Units") or "").strip()
    if units == "GML":
        kind = str(head.get("SUVType") or "BW")
        if kind != "BW":
            raise ValueError(f"its units are GML of SUVType {kind}, not BW")
        return 1.0
    if units == "CNTS":
        scale = _private(head, 0x7053, PHILIPS, 0x00)
        if scale is not None and float(scale) > 0:
            return float(scale)
        counts = _private(head, 0x7053, PHILIPS, 0x09)
        if counts is None or not float(counts) > 0:
            raise ValueError("its units are CNTS, without Philips' private factors (7053,1000) or (7053,1009)")
        return float(counts) * _of_activity(head, heads)
    if units != "BQML":
        raise ValueError(f"its units are {units or 'not given'}, not BQML, CNTS or GML")
    return _of_activity(head, heads)


def factor_inputs(head: Any) -> tuple[str, ...]:
    """The inputs of the factor other than times; equal for all slices of a series."""
    drugs = head.get("RadiopharmaceuticalInformationSequence") or []
    keys = ("RadionuclideTotalDose", "RadionuclideHalfLife", "RadiopharmaceuticalStartTime",
            "RadiopharmaceuticalStartDateTime")  # fmt: skip
    return (
        *(str(head.get(key)) for key in ("Units", "SUVType", "DecayCorrection", "CorrectedImage", "PatientWeight")),
        *(str(drug.get(key)) for drug in drugs for key in keys),
        *(str(_private(head, 0x7053, PHILIPS, element)) for element in (0x00, 0x09)),
    )


def _of_activity(head: Any, heads: Sequence[Any]) -> float:
    """SUV per Bq/ml."""
    correction = str(head.get("DecayCorrection") or "")
    if correction not in ("START", "ADMIN"):
        raise ValueError(f"its decay correction is {correction or 'not given'}, neither START nor ADMIN")
    done = head.get("CorrectedImage") or []
    done = [done] if isinstance(done, str) else list(done)
    if done and "ATTN" not in done:
        raise ValueError("it is not corrected for attenuation (CorrectedImage lacks ATTN)")
    if done and "DECY" not in done:
        raise ValueError("it is not corrected for decay (CorrectedImage lacks DECY)")
    drugs = head.get("RadiopharmaceuticalInformationSequence") or []
    if len(drugs) > 1:
        raise ValueError("it names several radiopharmaceuticals")
    drug = drugs[0] if drugs else {}
    weight = _positive(head.get("PatientWeight"), "patient's weight (PatientWeight)")
    dose = _positive(drug.get("RadionuclideTotalDose"), "injected dose (RadionuclideTotalDose)")
    if weight > MOST_WEIGHT:
        raise ValueError(f"the patient's weight is {weight:g} kg (PatientWeight)")
    if dose < LEAST_DOSE:
        raise ValueError(f"the injected dose is {dose:g} Bq (RadionuclideTotalDose), which may be meant in MBq")
    if correction == "START":
        half = _positive(drug.get("RadionuclideHalfLife"), "half life (RadionuclideHalfLife)")
        dose *= 2.0 ** (-_waited(head, heads or [head], drug, half) / half)
    return 1000.0 * weight / dose


def _positive(value: Any, name: str) -> float:
    number = float(value or 0)
    if not 0 < number < float("inf"):
        raise ValueError(f"the {name} is not given")
    return number


def _waited(head: Any, heads: Sequence[Any], drug: Any, half: float) -> float:
    """Seconds from the injection to the time that the images are decay corrected to."""
    scan = _scan_start(head, heads)
    stamp = str(drug.get("RadiopharmaceuticalStartDateTime") or "").strip()
    if len(stamp) >= 10:
        seconds = (scan - _local(stamp, head)).total_seconds()
    else:
        time = str(drug.get("RadiopharmaceuticalStartTime") or stamp[8:] or "")
        if half > LONG_LIVED:
            raise ValueError("the date of the injection is missing (RadiopharmaceuticalStartDateTime)")
        injected = _moment(f"{scan:%Y%m%d}", time, "injection (RadiopharmaceuticalStartTime)")
        if injected > scan:  # a time without a date, and midnight between the two
            injected -= timedelta(days=1)
            if (scan - injected).total_seconds() > MOST_OVER_MIDNIGHT * half:
                raise ValueError("the injection has a later time than the scan, and no date; the times contradict")
        seconds = (scan - injected).total_seconds()
    if not 0 <= seconds <= MOST_HALF_LIVES * half:
        raise ValueError(
            f"the injection is not within {MOST_HALF_LIVES} half-lives before the scan; the times contradict"
        )
    return seconds


def _scan_start(head: Any, heads: Sequence[Any]) -> datetime:
    """Start of the scan: the series' time unless it is after an acquisition, as it is of a series that was made
    later from the same data; then GE's own time of the scan, else the earliest acquisition."""
    acquired = [time for time in map(_acquired, heads) if time is not None]
    first = min(acquired) if acquired else None
    if head.get("SeriesDate") and head.get("SeriesTime"):
        series = _moment(str(head.SeriesDate), str(head.SeriesTime), "series (SeriesDate, SeriesTime)")
        if first is None or series <= first:
            return series
    private = _private(head, 0x0009, GE, 0x0D)
    if private:
        return _local(str(private), head)
    if first is None:
        raise ValueError("the time of the scan is missing (SeriesDate, SeriesTime, AcquisitionDate, AcquisitionTime)")
    return first


def _acquired(head: Any) -> datetime | None:
    """Acquisition time of a slice; None if its header lacks it."""
    day = str(head.get("AcquisitionDate") or head.get("SeriesDate") or "")
    time = str(head.get("AcquisitionTime") or "")
    if day and time:
        return _moment(day, time, "acquisition (AcquisitionDate, AcquisitionTime)")
    stamp = str(head.get("AcquisitionDateTime") or "")
    return _local(stamp, head) if len(stamp) >= 10 else None


def _moment(day: str, time: str, what: str) -> datetime:
    import pydicom  # noqa: F401  (the whole first: threads import at once)
    from pydicom.valuerep import DA, TM

    date, clock = DA(day.strip()), TM(time.strip())
    if not date or not clock:
        raise ValueError(f"the time of the {what} is not given")
    return datetime.combine(date, clock)


def _local(stamp: str, head: Any) -> datetime:
    """Convert a DT value to the time zone of the header's other times."""
    import pydicom  # noqa: F401  (the whole first: threads import at once)
    from pydicom.valuerep import DT

    moment = DT(stamp.strip())
    if moment is None:
        raise ValueError("a time is not given")
    if moment.tzinfo is None:
        return datetime.combine(moment.date(), moment.time())
    offset = str(head.get("TimezoneOffsetFromUTC") or "").strip()
    shown = moment.replace(tzinfo=None)
    if not offset:
        return datetime.combine(shown.date(), shown.time())
    sign = -1 if offset.startswith("-") else 1
    there = sign * timedelta(hours=int(offset[-4:-2]), minutes=int(offset[-2:]))
    utc = datetime.combine(shown.date(), shown.time()) - (moment.utcoffset() or timedelta())
    return utc + there


def _private(head: Any, group: int, creator: str, element: int) -> Any:
    """The value of a private element; None where its block or it is not there."""
    try:
        found = head.private_block(group, creator)[element]
    except KeyError:
        return None
    value = found.value
    return value.decode("ascii").strip(" \0") if isinstance(value, bytes) else value
