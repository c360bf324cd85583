"""Limits on HTTP connections: their number, size and duration of headers, and slow readers of responses.

Idle connections make way for new ones: however many a client opens, the next one is still served, and health probes
are answered even if every connection is busy.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from medzoo.serve.access import CERTIFICATE, certificate_name
from medzoo.serve.settings import Settings

_RESERVE = 64  # connections beyond the limit, for health probes only
_PER_BODY_BYTE = 8  # bytes of chunk headers that a byte of a body may bring along
HEALTH = "/v2/health/"
Refused = Callable[[str, int], None]


class Connections:
    """All HTTP connections of a server, and the idle ones among them, longest idle first."""

    def __init__(self, settings: Settings, refused: Refused) -> None:
        self.settings, self.refused = settings, refused
        self._of: Counter[str] = Counter()
        self._total = 0
        self._waiting: dict[LimitedProtocol, None] = {}

    def enter(self, connection: LimitedProtocol) -> bool:
        """Add a connection, closing an idle one if there are too many; return True if it exceeds the limit."""
        self._total += 1
        self._of[connection.address] += 1
        beyond = self._is_over(connection.address) and not self._close_one(connection.address)
        if self._total > self.settings.max_connections + _RESERVE:
            connection.transport.abort()
        self._waiting[connection] = None
        return beyond

    def leave(self, connection: LimitedProtocol) -> None:
        """Remove a closed connection."""
        if connection.counted:
            connection.counted = False
            self._total -= 1
            self._of[connection.address] -= 1
            if not self._of[connection.address]:
                del self._of[connection.address]
        self._waiting.pop(connection, None)

    def mark_busy(self, connection: LimitedProtocol) -> None:
        """Mark a connection as busy once a request's header is complete."""
        self._waiting.pop(connection, None)

    def mark_idle(self, connection: LimitedProtocol) -> None:
        """Mark a connection as idle after a response."""
        self._waiting[connection] = None

    def _is_over(self, address: str) -> bool:
        settings = self.settings
        return self._total > settings.max_connections or self._of[address] > settings.max_client_connections

    def _close_one(self, address: str) -> bool:
        """Close the longest idle connection, of this client if it has too many; return True if there was one."""
        own = self._of[address] > self.settings.max_client_connections
        chosen = next((one for one in self._waiting if not own or one.address == address), None)
        if chosen is None:
            return False
        self.leave(chosen)
        chosen.transport.abort()
        return True


class _StreamingProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol without two copies of every large body, and with the client certificate's name."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See HttpToolsProtocol; stores the name of the client's certificate."""
        super().connection_made(transport)
        secured = transport.get_extra_info("ssl_object")
        certificate = secured.getpeercert() if secured is not None else None
        if certificate:
            names = [value for part in certificate["subject"] for kind, value in part if kind == "commonName"]
            self.app_state = {**self.app_state, CERTIFICATE: certificate_name(names[0] if names else "")}

    def on_body(self, body: bytes) -> None:
        """See HttpToolsProtocol."""
        cycle = self.cycle
        if cycle.response_complete:
            return
        # Of bytes, the copy that the application is given is the piece itself.
        cycle.body = cycle.body + body if cycle.body else body  # type: ignore[assignment]
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()


class LimitedProtocol(_StreamingProtocol):
    """One HTTP connection. `registry` is set by `limited_protocol`."""

    registry: Connections
    counted = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See HttpToolsProtocol."""
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._in_head, self._begun, self._received = True, False, False
        self._head = self._spare = self._body = 0
        self._surplus = self.registry.enter(self)
        if self._surplus:
            self.app = _HealthOnly(self.app, self._report)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """See HttpToolsProtocol."""
        self.registry.leave(self)
        self._unset("_head_timer")
        self._unset("_write_timer")
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See HttpToolsProtocol; closes a connection that sends too many bytes outside of bodies."""
        self._begun, self._received, before = False, True, self._body
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
        """See HttpToolsProtocol; also called for trailers."""
        self._head += len(name) + len(value) + 4
        if self._head > self.registry.settings.max_header:
            self.headers.clear()
        else:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """See HttpToolsProtocol."""
        self._in_head = False
        self._unset("_head_timer")
        self.registry.mark_busy(self)
        most = self.registry.settings.max_header
        if self._head <= most:
            super().on_headers_complete()
            return
        refusing = _RefusingApp(431, f"the request header is larger than {most} bytes", self._report)
        app, self.app = self.app, refusing
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
            self.registry.mark_idle(self)
        super().on_response_complete()

    def pause_writing(self) -> None:
        """See HttpToolsProtocol; aborts if the client does not read the response in time."""
        super().pause_writing()
        self._unset("_write_timer")
        self._write_timer = self.loop.call_later(self.registry.settings.timeout, self.transport.abort)

    def resume_writing(self) -> None:
        """See HttpToolsProtocol."""
        self._unset("_write_timer")
        super().resume_writing()

    def _is_waiting(self) -> bool:
        """Return True if a request has begun, its header is incomplete, and no other is being processed."""
        idle = self.cycle is None or self.cycle.response_complete
        return idle and self.timeout_keep_alive_task is None

    def _watch_head(self) -> None:
        self._unset("_head_timer")
        self._head_timer = self.loop.call_later(self.registry.settings.header_timeout, self._late)

    def _late(self) -> None:
        self._head_timer = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._watch_head()  # the previous request is still being processed
        elif self._in_head or self._is_waiting():
            self._end(408, "timed out receiving the request header")

    def _end(self, status: int, message: str) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or self._in_head:
            body = json.dumps({"error": message}).encode()
            head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[status] + head.encode() + body)
            if self._received:  # a connection on which nothing came asked for nothing
                self._report(status)
        self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """See HttpToolsProtocol."""
        self._report(400)
        super().send_400_response(msg)

    def _report(self, status: int) -> None:
        """Report what was refused before it became a request of the application."""
        self.registry.refused(self.address, status)

    def _unset(self, timer: str) -> None:
        handle = getattr(self, timer)
        if handle is not None:
            handle.cancel()
            setattr(self, timer, None)


def limited_protocol(settings: Settings, refused: Refused = lambda address, status: None) -> type[LimitedProtocol]:
    """Make the protocol class of one server.

    `refused`: called with a client's address and the HTTP status of what never became a request: no HTTP, a header that
    is too large or too slow, a connection beyond the limits.
    """

    class Protocol(LimitedProtocol):
        registry = Connections(settings, refused)

    return Protocol


class _HealthOnly:
    """ASGI app that serves health probes and rejects everything else."""

    def __init__(self, app: Any, report: Callable[[int], None]) -> None:
        self._app, self._report = app, report

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app: ASGIApp = self._app
        if not scope["path"].startswith(HEALTH):
            words = "too many connections; try again later"
            app = _RefusingApp(503, words, self._report, headers={"Retry-After": "1"})
        await app(scope, receive, send)


class _RefusingApp:
    """ASGI app that responds with one error and closes the connection."""

    def __init__(
        self, status: int, message: str, report: Callable[[int], None], *, headers: dict[str, str] | None = None
    ) -> None:
        self._status, self._message, self._report, self._headers = status, message, report, headers or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._report(self._status)
        headers = {"Connection": "close", **self._headers}
        response = JSONResponse({"error": self._message}, self._status, headers=headers)
        await response(scope, receive, send)
