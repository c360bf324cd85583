"""Limits on receiving gRPC messages: how many at once, and for how long.

gRPC buffers a message until it is complete, without a limit on all of them together. But it does not read a call whose
message was not requested: flow control stops the sender after some kilobytes (HTTP/2, RFC 9113 section 5.2). So a call
is handled as a request stream, which looks the same to the client, and its message is requested when there is room.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from medzoo.serve.inference_error import ErrorCode, InferenceError
from medzoo.serve.settings import Settings

_SHORT = 0.25  # seconds within which the whole of a message of common size is there
_PATIENCE = 2.0  # seconds that a long one may take while others wait for its place


class MessageReceiver:
    """Receives the messages of a server's calls within limits.

    At most `max_inflight_bytes // max_body` of them may take long, and at most `2 * max_queue` are received at once.
    Where another needs a place, the slowest gives way, once it has taken more than two seconds.
    """

    def __init__(self, settings: Settings) -> None:
        self._timeout = settings.timeout
        self._most_long = max(1, settings.max_inflight_bytes // settings.max_body)
        self._most = 2 * settings.max_queue
        self._short: dict[_Read, None] = {}
        self._long: dict[_Read, None] = {}

    async def read(self, context: Any) -> bytes:
        """Receive the message of a call. Raises InferenceError if it times out or too many are being received."""
        self._make_room(self._short, self._most)
        read = _Read()
        self._short[read] = None
        read.timer = asyncio.get_running_loop().call_later(_SHORT, self._takes_long, read)
        try:
            message = await context.read()
        except asyncio.CancelledError:
            if read.error is not None and not read.task.uncancel():
                raise read.error from None
            raise
        finally:
            read.timer.cancel()
            self._short.pop(read, None)
            self._long.pop(read, None)
        if not isinstance(message, bytes):
            raise InferenceError(ErrorCode.INVALID, "the call has no request message")
        return message

    def _takes_long(self, read: _Read) -> None:
        if read.error is not None:  # it has lost its place already
            return
        del self._short[read]
        try:
            self._make_room(self._long, self._most_long)
        except InferenceError as error:
            read.end(error)
            return
        self._long[read] = None
        late = InferenceError(ErrorCode.LATE, "timed out receiving the message")
        read.timer = asyncio.get_running_loop().call_later(max(0.0, self._timeout - _SHORT), read.end, late)

    def _make_room(self, reads: dict[_Read, None], most: int) -> None:
        if len(reads) < most:
            return
        oldest = next(iter(reads))
        if time.monotonic() - oldest.since < _PATIENCE:
            raise InferenceError(ErrorCode.FULL, "too many messages are being received; try again later")
        del reads[oldest]
        oldest.end(
            InferenceError(ErrorCode.FULL, "the message was sent too slowly while others waited; try again later")
        )


class _Read:
    """A message that is being received, and the task that waits for it."""

    timer: asyncio.TimerHandle

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.task, self.since = task, time.monotonic()
        self.error: InferenceError | None = None

    def end(self, error: InferenceError) -> None:
        """Make `read` raise `error`."""
        if self.error is None:
            self.error = error
            self.task.cancel()
