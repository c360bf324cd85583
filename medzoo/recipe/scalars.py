"""Text to scalar by the core schema of YAML 1.2 (section 10.3.2). Knows nothing of files or recipes."""

from __future__ import annotations

import math
import re
import unicodedata

Scalar = str | int | float | bool | None

_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_TRUE = frozenset(("true", "True", "TRUE"))
_FALSE = frozenset(("false", "False", "FALSE"))
_DECIMAL = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_LONGEST_NUMBER = 64


def resolve(text: str) -> Scalar:
    """Resolve an unquoted scalar to its value. Raises ValueError for a number that a recipe cannot hold."""
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    for pattern, base in ((_DECIMAL, 10), (_OCTAL, 8), (_HEXADECIMAL, 16)):
        if pattern.fullmatch(text):
            if len(text) > _LONGEST_NUMBER:
                raise ValueError("is too long a number")
            return hold(int(text, base))
    if _NOT_FINITE.fullmatch(text):
        raise ValueError("must be a finite number")
    return hold(float(text)) if _FLOAT.fullmatch(text) else text


def hold(value: Scalar) -> Scalar:
    """`value` itself, if a recipe can hold it: a 64-bit integer, a finite float, text without control
    characters. Raises ValueError otherwise."""
    if isinstance(value, str):
        # Control characters would end in file names and on terminals; lone surrogates are no text at all.
        bad = next((c for c in value if c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cs")), None)
        if bad is not None:
            raise ValueError(f"holds the control character U+{ord(bad):04X}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be a finite number")
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("must be a number of at most 64 bits")
    return value


def reads_as_text(text: str) -> bool:
    """True if `text` resolves to itself when it is written without quotes."""
    try:
        return isinstance(resolve(text), str)
    except ValueError:
        return False
