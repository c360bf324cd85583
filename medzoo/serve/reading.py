"""gRPC messages as they come in: how many are unfinished at once, and for how long.

gRPC hands a message over when it is whole, and keeps what came of it until then, without a bound on all of them
together. Nothing is read of a call whose message is not asked for, though: flow control stops its sender after some
kilobytes (HTTP/2, RFC 9113 section 5.2). So every call is taken as a stream of requests, which looks the same to a
client, and its message is asked for when there is room.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from medzoo.serve.refusal import Reason, Refusal
from medzoo.serve.settings import Settings

_SHORT = 0.25  # seconds within which the whole of a message of common size is there
_PATIENCE = 2.0  # seconds that a long one may take while others wait for its place


class MessageReads:
    """The messages of a server's calls that are being received.

    As many may take long as can be held by the settings, `max_held` over `max_body`, and `2 * max_queue` in all; where
    another needs a place, the one that has taken longest, and more than two seconds, loses its own.
    """

    def __init__(self, settings: Settings) -> None:
        self._timeout = settings.timeout
        self._most_long = max(1, settings.max_held // settings.max_body)
        self._most = 2 * settings.max_queue
        self._short: dict[asyncio.Task[Any], float] = {}
        self._long: dict[asyncio.Task[Any], float] = {}

    async def read(self, context: Any) -> bytes:
        """The call's message. Raises Refusal if it does not come in time, or if there is no room for it."""
        self._make_room(self._short, self._most)
        task = asyncio.ensure_future(context.read())
        self._short[task] = time.monotonic()
        try:
            done, _ = await asyncio.wait((task,), timeout=_SHORT)
            if not done:
                self._make_room(self._long, self._most_long)
                self._long[task] = self._short.pop(task)
                done, _ = await asyncio.wait((task,), timeout=self._timeout - _SHORT)
            if not done:
                raise Refusal(Reason.LATE, "the request's message did not come in time")
            if task.cancelled():
                raise Refusal(Reason.FULL, "the message came too slowly while others waited, try again later")
            message = task.result()
        finally:
            self._short.pop(task, None)
            self._long.pop(task, None)
            task.cancel()
        if not isinstance(message, bytes):
            raise Refusal(Reason.INVALID, "the call has no message")
        return message

    def _make_room(self, reads: dict[asyncio.Task[Any], float], most: int) -> None:
        if len(reads) < most:
            return
        oldest, since = next(iter(reads.items()))
        if time.monotonic() - since < _PATIENCE:
            raise Refusal(Reason.FULL, "too many messages are on their way, try again later")
        del reads[oldest]
        oldest.cancel()
