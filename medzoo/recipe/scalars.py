"""Scalars by the core schema of YAML 1.2 (section 10.3.2): text to value, and a whole recipe back to text."""

from __future__ import annotations

import hashlib
import json
import math
import re
import unicodedata
from typing import Any

import yaml

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
                raise ValueError("this number has too many digits")
            return check_scalar(int(text, base))
    if _NOT_FINITE.fullmatch(text):
        raise ValueError("must be a finite number")
    return check_scalar(float(text)) if _FLOAT.fullmatch(text) else text


def check_scalar(value: Scalar) -> Scalar:
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


class _Dumper(yaml.SafeDumper):
    """Block style outside, flow style inside, no anchors, text quoted where YAML 1.1 or 1.2 wants it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        # PyYAML quotes what YAML 1.1 would take for something else; 1e-3 or 0o17 are numbers in 1.2 alone.
        return self.represent_scalar("tag:yaml.org,2002:str", text, None if reads_as_text(text) else '"')


_Dumper.add_representer(str, _Dumper.represent_text)


def to_yaml(written: dict[str, Any]) -> str:
    """YAML text that reads back to exactly `written`."""
    return yaml.dump(written, Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=100)


def digest(written: dict[str, Any]) -> str:
    """SHA-256 (hexadecimal) of `written` as JSON with sorted keys and no spaces, in UTF-8."""
    text = json.dumps(written, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
