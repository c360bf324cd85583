"""Receiving of request bodies: limited in size and time, decompressed, with aligned tensors."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
from starlette.requests import ClientDisconnect, Request

from medzoo.runtime.protocol.tensors import HEADER_LENGTH
from medzoo.serve.inference_error import ErrorCode, InferenceError
from medzoo.serve.repository import ByteReservation, ModelRepository

_ALIGN = 64  # bytes; the widest vector register there is
_FIRST = 4 << 20  # bytes that a body gets before any of it has come
_PIECE = 64 << 10  # bytes of it that must come
_STALL = 10.0  # in every so many seconds
_STEP = 4 << 20  # bytes that are decompressed at once


def header_length(request: Request) -> int | None:
    """Return the length of the JSON header, None if the request does not give it. Raises InferenceError."""
    text = request.headers.get(HEADER_LENGTH)
    if text is None:
        return None
    return _whole_number(text, HEADER_LENGTH)


@asynccontextmanager
async def receive_body(
    request: Request, repository: ModelRepository, *, header: int | None = None
) -> AsyncIterator[memoryview]:
    """Receive a body into memory that is reserved until the block ends; the bytes after `header` are aligned.

    Raises InferenceError if it is too large, too slow, or does not match its headers.
    """
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip", "deflate"):
        raise InferenceError(ErrorCode.INVALID, "unsupported content encoding; use gzip or deflate")
    declared = request.headers.get("content-length")
    size = _whole_number(declared, "Content-Length") if declared is not None else None
    most = repository.settings.max_body
    if size is not None and size > most:
        raise InferenceError(ErrorCode.TOO_LARGE, f"the request has {size} bytes; the limit is {most}")
    with repository.reserve_bytes() as holding:
        try:
            raw = await _receive(request, repository, holding, size, offset=(header or 0) % _ALIGN)
        except TimeoutError as error:
            raise InferenceError(ErrorCode.LATE, "timed out receiving the request body") from error
        except ClientDisconnect as error:
            raise InferenceError(ErrorCode.CANCELLED, "the client disconnected") from error
        except MemoryError as error:
            raise InferenceError(ErrorCode.FULL, "not enough memory for this request; try again later") from error
        if encoding == "identity":
            yield raw
            return
        with repository.reserve_bytes() as unpacked:
            yield await _decompress(raw, encoding, unpacked, most)


async def _receive(
    request: Request, repository: ModelRepository, holding: ByteReservation, size: int | None, *, offset: int
) -> memoryview:
    """Receive the body; each 64 KB must arrive within ten seconds, and all of it within the request timeout."""
    most = repository.settings.max_body if size is None else size
    buffer = _aligned(min(most, _FIRST), offset)
    used = seen = 0
    loop = asyncio.get_running_loop()
    looking: asyncio.TimerHandle | None = None

    def look() -> None:
        nonlocal seen, looking
        if used - seen < _PIECE:
            patience.reschedule(loop.time())
        else:
            seen, looking = used, loop.call_later(_STALL, look)

    looking = loop.call_later(_STALL, look)
    try:
        async with asyncio.timeout(repository.settings.timeout) as patience:
            async for chunk in request.stream():
                if not chunk:
                    continue
                if used + len(chunk) > most:
                    raise InferenceError(ErrorCode.TOO_LARGE, f"the body is larger than {most} bytes")
                holding.grow(len(chunk))
                if used + len(chunk) > len(buffer):
                    # Memory of the length that was announced, once some of it has come.
                    larger = _aligned(most if size is not None else min(most, 2 * (used + len(chunk))), offset)
                    larger[:used] = buffer[:used]
                    buffer = larger
                buffer[used : used + len(chunk)] = chunk
                used += len(chunk)
    finally:
        if looking is not None:
            looking.cancel()
    if size is not None and used < size:
        raise InferenceError(ErrorCode.CANCELLED, "the body is shorter than its Content-Length")
    return buffer[:used]


def _aligned(size: int, offset: int) -> memoryview:
    """Allocate `size` bytes so that the one at `offset` (below _ALIGN) is aligned to _ALIGN."""
    memory = np.empty(size + 2 * _ALIGN, np.uint8)
    start = -(memory.ctypes.data + offset) % _ALIGN
    return memoryview(memory)[start : start + size]  # type: ignore[arg-type]


async def _decompress(raw: memoryview, encoding: str, holding: ByteReservation, limit: int) -> memoryview:
    stream = zlib.decompressobj(zlib.MAX_WBITS | (16 if encoding == "gzip" else 0))
    parts: list[bytes] = []
    left: bytes | memoryview = raw
    while not stream.eof:
        try:
            part = await asyncio.to_thread(stream.decompress, left, _STEP)
        except zlib.error as error:
            raise InferenceError(ErrorCode.INVALID, f"the body is not valid {encoding} data") from error
        if not part and not left:
            break  # nothing more comes out of it
        if holding.size + len(part) > limit:
            raise InferenceError(ErrorCode.TOO_LARGE, f"the decompressed body is larger than {limit} bytes")
        holding.grow(len(part))
        parts.append(part)
        left = stream.unconsumed_tail
    if not stream.eof or stream.unused_data:
        raise InferenceError(ErrorCode.INVALID, f"the body is not a complete {encoding} stream")
    return memoryview(parts[0] if len(parts) == 1 else b"".join(parts))


def _whole_number(text: str, name: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise InferenceError(ErrorCode.INVALID, f"the header {name} must be a non-negative integer")
    return int(text)
