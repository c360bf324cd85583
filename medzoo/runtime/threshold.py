"""The one check of an operating threshold, whoever gives it."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from medzoo.errors import UserError


def check_threshold(value: Any) -> float:
    """`value` as a float. Raises UserError unless it is a finite number from 0 to 1 (True, "0.5" and NaN are none)."""
    # NumPy's scalars are numbers.Real too. So is True, which is no threshold.
    number = math.nan if value is True or value is False or not isinstance(value, Real) else float(value)
    if not 0 <= number <= 1:
        raise UserError(f"{value!r} is not a number from 0 to 1", where="threshold", hint="as in threshold=0.5")
    return number
