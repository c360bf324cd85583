"""Facts of a DICOM header for steps and writers; never the patient's identity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medzoo.io.dicom.deidentify import redact_message
from medzoo.io.dicom.functional_groups import frame_value
from medzoo.io.dicom.suv import factor_inputs, suvbw_factor

__all__ = ["header_facts", "suvbw_factor"]


def header_facts(head: Any, heads: Sequence[Any] = ()) -> dict[str, Any]:
    """`modality`, `window` (centre, width), `burnt_in` where the header says that the pixels show who the patient is
    (Burned In Annotation, PS3.3 C.7.6.1.1.2) and, of a PET, `suvbw`: the factor from its values to SUV by body weight,
    or `suvbw_lacks`: why there is none. `heads`: those of the whole series, of which `head` is one."""
    facts: dict[str, Any] = {"modality": str(head.get("Modality", ""))}
    window = _window(head)
    if window is not None:
        facts["window"] = window
    if str(head.get("BurnedInAnnotation", "")).strip().upper() == "YES":
        facts["burnt_in"] = True
    if facts["modality"] == "PT":
        try:
            facts["suvbw"] = _of_series(head, heads)
        except (ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
            facts["suvbw_lacks"] = redact_message(error)
    return facts


def _of_series(head: Any, heads: Sequence[Any]) -> float:
    """The SUV factor of a series. Raises ValueError if its slices differ in what the factor is computed from."""
    made_of = factor_inputs(head)
    if any(factor_inputs(other) != made_of for other in heads):
        raise ValueError("its slices differ in units, weight, dose, half life, injection or correction")
    return suvbw_factor(head, heads)


def _window(head: Any) -> tuple[float, float] | None:
    """The first window that a header, or its first frame, names: centre and width."""
    centre, width = frame_value(head, "WindowCenter"), frame_value(head, "WindowWidth")
    if centre is None or width is None:
        return None
    try:
        first = [float(v) if isinstance(v, str | float | int) else float(v[0]) for v in (centre, width)]
    except (ValueError, IndexError, TypeError):
        return None
    return (first[0], first[1]) if first[1] > 0 else None
