"""A request's body in memory: bounded, counted, decompressed, and laid where its tensors are aligned."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
from starlette.requests import ClientDisconnect, Request

from medzoo.runtime.tensors import HEADER_LENGTH
from medzoo.serve.hub import Hub
from medzoo.serve.refusal import Reason, Refusal

_ALIGN = 64  # bytes; the widest vector register there is


def header_length(request: Request) -> int | None:
    """What the request says of its JSON header's length, None if it says nothing. Raises Refusal."""
    text = request.headers.get(HEADER_LENGTH)
    if text is None:
        return None
    return _whole_number(text, HEADER_LENGTH)


@asynccontextmanager
async def held_body(request: Request, hub: Hub, *, header: int | None = None) -> AsyncIterator[memoryview]:
    """The body, counted as held by `hub` until the block ends; the bytes after `header` begin aligned.

    Raises Refusal if it is too large, does not come in time, or is not what its headers say.
    """
    said = request.headers.get("content-length")
    size = _whole_number(said, "Content-Length") if said is not None else hub.settings.max_body
    if said is None:
        # Nobody knows how much will come: count what may come, as far as there is room.
        size = max(1 << 20, min(size, hub.settings.max_held - hub.held))
    with hub.hold(size):
        try:
            async with asyncio.timeout(hub.settings.timeout):
                raw = await _receive(request, size, offset=(header or 0) % _ALIGN, exact=said is not None)
        except TimeoutError as error:
            raise Refusal(Reason.LATE, "the request's body did not come in time") from error
        except ClientDisconnect as error:
            raise Refusal(Reason.CANCELLED, "the client went away") from error
        encoding = request.headers.get("content-encoding", "identity").lower()
        if encoding == "identity":
            yield raw
            return
        if encoding not in ("gzip", "deflate"):
            raise Refusal(Reason.INVALID, "the content encoding is neither gzip nor deflate")
        plain = await asyncio.to_thread(_decompress, raw, encoding, hub.settings.max_body)
        with hub.hold(len(plain)):
            yield plain


async def _receive(request: Request, size: int, *, offset: int, exact: bool) -> memoryview:
    buffer = _aligned(size, offset)
    used = 0
    async for chunk in request.stream():
        if used + len(chunk) > size:
            raise Refusal(Reason.TOO_LARGE, f"the body has more than {size} bytes")
        buffer[used : used + len(chunk)] = chunk
        used += len(chunk)
    if exact and used < size:
        raise Refusal(Reason.CANCELLED, "the body ended early")
    return buffer[:used]


def _aligned(size: int, offset: int) -> memoryview:
    """`size` bytes of which the one at `offset` (below _ALIGN) has an address that is a multiple of _ALIGN."""
    memory = np.empty(size + 2 * _ALIGN, np.uint8)
    start = -(memory.ctypes.data + offset) % _ALIGN
    return memoryview(memory)[start : start + size]  # type: ignore[arg-type]


def _decompress(raw: memoryview, encoding: str, limit: int) -> memoryview:
    stream = zlib.decompressobj(zlib.MAX_WBITS | (16 if encoding == "gzip" else 0))
    try:
        plain = stream.decompress(raw, limit + 1)
    except zlib.error as error:
        raise Refusal(Reason.INVALID, f"the body is not {encoding}") from error
    if len(plain) > limit:
        raise Refusal(Reason.TOO_LARGE, f"the body has more than {limit} bytes when decompressed")
    return memoryview(plain)


def _whole_number(text: str, name: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise Refusal(Reason.INVALID, f"the header {name} is not a whole number")
    return int(text)
