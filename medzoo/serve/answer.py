"""JSON responses, serialised in chunks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from medzoo.types import Array

_CHUNK = 1 << 15  # numbers per chunk


def dump_response(document: Mapping[str, Any]) -> bytes:
    """Serialise `document` to compact JSON; arrays under "data" of its outputs become flat lists.

    Python's encoder holds the interpreter lock for a whole list, for seconds if it has millions of numbers. A long list
    is therefore encoded in chunks, between which other threads run.
    """
    outputs = []
    for output in document["outputs"]:
        data = output.get("data")
        if not isinstance(data, np.ndarray):
            outputs.append(_dump(output))
            continue
        rest = _dump({name: value for name, value in output.items() if name != "data"})
        outputs.append(b"".join([rest[:-1], b',"data":[', b",".join(_chunks(data.reshape(-1))), b"]}"]))
    rest = _dump({name: value for name, value in document.items() if name != "outputs"})
    return b"".join([rest[:-1], b"," if len(rest) > 2 else b"", b'"outputs":[', b",".join(outputs), b"]}"])


def _chunks(flat: Array) -> list[bytes]:
    return [_dump(flat[start : start + _CHUNK].tolist())[1:-1] for start in range(0, len(flat), _CHUNK)]


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
