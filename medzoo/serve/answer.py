"""The JSON of an answer, written piece by piece."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from medzoo.types import Array

_PIECE = 1 << 15  # numbers that are written at once


def dump_response(document: Mapping[str, Any]) -> bytes:
    """`document` as JSON without blanks; arrays under "data" of its outputs become flat lists.

    Python's encoder lets no other thread run until it is through with a list: of millions of numbers, nobody would be
    answered for seconds. So a long list is written in pieces, between which others run.
    """
    outputs = []
    for output in document["outputs"]:
        data = output.get("data")
        if not isinstance(data, np.ndarray):
            outputs.append(_dump(output))
            continue
        rest = _dump({name: value for name, value in output.items() if name != "data"})
        outputs.append(b"".join([rest[:-1], b',"data":[', b",".join(_pieces(data.reshape(-1))), b"]}"]))
    rest = _dump({name: value for name, value in document.items() if name != "outputs"})
    return b"".join([rest[:-1], b"," if len(rest) > 2 else b"", b'"outputs":[', b",".join(outputs), b"]}"])


def _pieces(flat: Array) -> list[bytes]:
    return [_dump(flat[start : start + _PIECE].tolist())[1:-1] for start in range(0, len(flat), _PIECE)]


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
