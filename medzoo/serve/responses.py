"""Responses to inference requests: JSON serialised in chunks, and binary tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from medzoo.runtime.protocol.tensors import HEADER_LENGTH, InferenceRequest, build_response
from medzoo.types import Array

_CHUNK = 1 << 15  # numbers per chunk


def inference_response(model: str, outputs: Mapping[str, Array], request: InferenceRequest) -> Response:
    """Make the response to an inference request, in JSON or with binary tensors."""
    document, tails = build_response(model, outputs, request=request, listed=False)
    head = dump_response(document)
    if not tails:
        return Response(head, media_type="application/json")
    return _BinaryResponse([head, *tails])


class _BinaryResponse(Response):
    """A JSON header followed by tensors, sent in parts: joining them would copy them once more."""

    media_type = "application/octet-stream"

    def __init__(self, parts: Sequence[bytes | memoryview]) -> None:
        length = sum(len(part) for part in parts)
        super().__init__(headers={"Content-Length": str(length), HEADER_LENGTH: str(len(parts[0]))})
        self.parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for part in self.parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


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
