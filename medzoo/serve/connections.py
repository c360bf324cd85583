"""Bounds on HTTP connections: how many there are, how long and how large a header is, how slowly an answer is read.

A connection that asks for nothing makes way for one that does: however many a client opens, the next one is still
served, and health probes are answered even where every connection is at work.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from medzoo.serve.pieces import Pieces
from medzoo.serve.settings import Settings

_RESERVE = 64  # connections beyond the most, for health probes alone
_PER_BODY_BYTE = 8  # bytes of chunk headers that a byte of a body may bring along
HEALTH = "/v2/health/"


class Connections:
    """All HTTP connections of a server, and those among them that wait for a request, the longest first."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._of: Counter[str] = Counter()
        self._total = 0
        self._waiting: dict[LimitedProtocol, None] = {}

    def enter(self, connection: LimitedProtocol) -> bool:
        """Count a connection, and close one that waits if there are too many; whether this one is beyond the most."""
        self._total += 1
        self._of[connection.address] += 1
        beyond = self._is_over(connection.address) and not self._close_one(connection.address)
        if self._total > self.settings.max_connections + _RESERVE:
            connection.transport.abort()
        self._waiting[connection] = None
        return beyond

    def leave(self, connection: LimitedProtocol) -> None:
        """A connection ended."""
        if connection.counted:
            connection.counted = False
            self._total -= 1
            self._of[connection.address] -= 1
            if not self._of[connection.address]:
                del self._of[connection.address]
        self._waiting.pop(connection, None)

    def at_work(self, connection: LimitedProtocol) -> None:
        """A request came whole with its header: this connection is not closed for another."""
        self._waiting.pop(connection, None)

    def waits(self, connection: LimitedProtocol) -> None:
        """A request was answered."""
        self._waiting[connection] = None

    def _is_over(self, address: str) -> bool:
        settings = self.settings
        return self._total > settings.max_connections or self._of[address] > settings.max_client_connections

    def _close_one(self, address: str) -> bool:
        """Close the connection that waits longest; the client's own where it alone has too many."""
        own = self._of[address] > self.settings.max_client_connections
        chosen = next((one for one in self._waiting if not own or one.address == address), None)
        if chosen is None:
            return False
        self.leave(chosen)
        chosen.transport.abort()
        return True


class LimitedProtocol(Pieces):
    """One connection. `registry` is set by `limited_protocol`."""

    registry: Connections
    counted = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See HttpToolsProtocol."""
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._in_head, self._begun = True, False
        self._head = self._spare = self._body = 0
        self._surplus = self.registry.enter(self)
        if self._surplus:
            self.app = _HealthOnly(self.app)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """See HttpToolsProtocol."""
        self.registry.leave(self)
        self._unset("_head_timer")
        self._unset("_write_timer")
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See HttpToolsProtocol; ends a connection that sends more around its bodies than it may."""
        self._begun, before = False, self._body
        super().data_received(data)
        if self.transport.is_closing():
            return
        # A message that begins in the middle of what came is counted from the next piece on.
        self._spare = 0 if self._begun else self._spare + len(data) - (self._body - before)
        most = self.registry.settings.max_header
        if self._spare > most + (0 if self._in_head else _PER_BODY_BYTE * self._body):
            self._end(431, f"the request header is larger than {most} bytes")
        elif self._head_timer is None and self._is_waiting():
            self._watch_head()

    def on_message_begin(self) -> None:
        """See HttpToolsProtocol."""
        self._in_head = self._begun = True
        self._head = self._body = 0
        self._watch_head()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """See HttpToolsProtocol."""
        self._head += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """See HttpToolsProtocol; also called for what follows a chunked body."""
        self._head += len(name) + len(value) + 4
        if self._head > self.registry.settings.max_header:
            self.headers.clear()
        else:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """See HttpToolsProtocol."""
        self._in_head = False
        self._unset("_head_timer")
        self.registry.at_work(self)
        most = self.registry.settings.max_header
        if self._head <= most:
            super().on_headers_complete()
            return
        app, self.app = self.app, _Refusing(431, f"the request header is larger than {most} bytes")
        super().on_headers_complete()
        self.app = app

    def on_body(self, body: bytes) -> None:
        """See HttpToolsProtocol."""
        self._body += len(body)
        super().on_body(body)

    def on_response_complete(self) -> None:
        """See HttpToolsProtocol."""
        if self._surplus:
            self.transport.close()
        elif not self.transport.is_closing() and not self.pipeline:
            self.registry.waits(self)
        super().on_response_complete()

    def pause_writing(self) -> None:
        """See HttpToolsProtocol; an answer that nobody reads is not kept for ever."""
        super().pause_writing()
        self._unset("_write_timer")
        self._write_timer = self.loop.call_later(self.registry.settings.timeout, self.transport.abort)

    def resume_writing(self) -> None:
        """See HttpToolsProtocol."""
        self._unset("_write_timer")
        super().resume_writing()

    def _is_waiting(self) -> bool:
        """Whether bytes came of a request whose header has not, and none is being answered."""
        idle = self.cycle is None or self.cycle.response_complete
        return idle and self.timeout_keep_alive_task is None

    def _watch_head(self) -> None:
        self._unset("_head_timer")
        self._head_timer = self.loop.call_later(self.registry.settings.header_timeout, self._late)

    def _late(self) -> None:
        self._head_timer = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._watch_head()  # the request before it is still being answered
        elif self._in_head or self._is_waiting():
            self._end(408, "timed out receiving the request header")

    def _end(self, status: int, message: str) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or self._in_head:
            body = json.dumps({"error": message}).encode()
            head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[status] + head.encode() + body)
        self.transport.close()

    def _unset(self, timer: str) -> None:
        handle = getattr(self, timer)
        if handle is not None:
            handle.cancel()
            setattr(self, timer, None)


def limited_protocol(settings: Settings) -> type[LimitedProtocol]:
    """The protocol class of one server."""

    class Protocol(LimitedProtocol):
        registry = Connections(settings)

    return Protocol


class _HealthOnly:
    """Answers health probes, and refuses everything else."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app: ASGIApp = self._app
        if not scope["path"].startswith(HEALTH):
            app = _Refusing(503, "too many connections; try again later", headers={"Retry-After": "1"})
        await app(scope, receive, send)


class _Refusing:
    """Answers nothing but one error, and closes the connection."""

    def __init__(self, status: int, message: str, *, headers: dict[str, str] | None = None) -> None:
        self._status, self._message, self._headers = status, message, headers or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {"Connection": "close", **self._headers}
        response = JSONResponse({"error": self._message}, self._status, headers=headers)
        await response(scope, receive, send)
