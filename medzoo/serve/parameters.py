"""Parameters of a request: from a query, a form, JSON or gRPC.

Unknown ones are rejected: with a misspelt `threshold` ignored, the result would differ from the intended one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from medzoo.runtime.decode.tiles import SMALLEST
from medzoo.serve.inference_error import ErrorCode, InferenceError

INFERENCE = ("binary_data_output", "threshold", "timeout")
"""Parameters of an inference request."""


def require_known(names: Iterable[str], known: Collection[str], *, kind: str) -> None:
    """Raise InferenceError for the first of `names` that is not in `known`; it lists the known ones."""
    for name in names:
        if name not in known:
            listed = f"known: {', '.join(sorted(known))}" if known else "none are allowed here"
            raise InferenceError(ErrorCode.INVALID, f"the {kind} {str(name)[:80]!r} is unknown ({listed})")


def read_timeout(parameters: Mapping[str, Any]) -> float | None:
    """Return Triton's parameter "timeout" (microseconds) in seconds; None if it is missing or 0."""
    value = parameters.get("timeout")
    if "timeout" not in parameters:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise InferenceError(ErrorCode.INVALID, "'timeout' must be a non-negative integer, in microseconds")
    return value / 1e6 if value else None


def read_threshold(parameters: Mapping[str, Any], *, text: bool = False) -> float | None:
    """Return the requested operating threshold; None if there is none. `text`: numbers are strings, as in a query.

    Raises InferenceError unless it is a number from 0 to 1.
    """
    if "threshold" not in parameters:
        return None
    value = parameters["threshold"]
    if text:
        value = _number(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not 0 <= value <= 1:
        raise InferenceError(ErrorCode.INVALID, "'threshold' must be a number from 0 to 1")
    return float(value)


def read_tile(parameters: Mapping[str, Any]) -> bool | tuple[int, int] | None:
    """Return the tiles that an upload asks for: True for "auto", or height and width; None if it asks for none."""
    if "tile" not in parameters:
        return None
    text = str(parameters["tile"])
    if text == "auto":
        return True
    match = re.fullmatch(r"([0-9]{1,6}),([0-9]{1,6})", text, re.ASCII)
    if match is None or min(int(side) for side in match.groups()) < SMALLEST:
        raise InferenceError(
            ErrorCode.INVALID, f"'tile' must be auto, or height,width of at least {SMALLEST} pixels, as in 512,640"
        )
    return int(match[1]), int(match[2])


def read_flag(parameters: Mapping[str, Any], name: str) -> bool:
    """Return a boolean option, False by default. Raises InferenceError for other values."""
    value = str(parameters.get(name, "false")).lower()
    if value not in ("true", "false", "1", "0"):
        raise InferenceError(ErrorCode.INVALID, f"{name!r} must be true or false")
    return value in ("true", "1")


def unique(pairs: Iterable[tuple[str, str]], known: Collection[str], *, kind: str) -> dict[str, str]:
    """Collect options by name. Raises InferenceError for unknown and duplicate ones."""
    options: dict[str, str] = {}
    for name, value in pairs:
        require_known([name], known, kind=kind)
        if name in options:
            raise InferenceError(ErrorCode.INVALID, f"the {kind} {name!r} is set twice")
        options[name] = value
    return options


def _number(text: str) -> float | None:
    try:
        # float() also reads "1_0", digits of other scripts and blanks around.
        return float(text) if set(text) <= set("0123456789.eE+-") else None
    except ValueError:
        return None
