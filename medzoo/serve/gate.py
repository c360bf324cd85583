"""The way in for both protocols: who asks, from where, whether they may, and a record of what became of it."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medzoo.serve.audit import AuditLog
from medzoo.serve.exchange import EXCHANGE, Exchange, grpc_address
from medzoo.serve.hub import Hub
from medzoo.serve.logs import log
from medzoo.serve.origin import OriginCheck
from medzoo.serve.refusal import Reason, Refusal
from medzoo.serve.settings import Settings
from medzoo.serve.tokens import NAME, Tokens

REQUEST_ID = "x-request-id"
CERTIFICATE = "medzoo_certificate"
"""Where a connection's state holds the name of the client's certificate."""
_LONG = 256 << 10  # bytes from which on hashing them would hold up the other requests
_WANTED = (b"host", b"origin", b"sec-fetch-site", b"authorization", b"x-request-id")


class Gate:
    """What both protocols ask before they answer. Raises UserError for settings that cannot be had."""

    def __init__(self, hub: Hub) -> None:
        settings: Settings = hub.settings
        self.hub = hub
        self.origins = OriginCheck(settings)
        self.tokens = Tokens(settings.tokens, single=settings.token) if settings.has_tokens else None
        self.audit = (
            AuditLog(settings.audit_log, fsync=settings.audit_fsync, digests=hub.digests().get)
            if settings.audit_log is not None
            else None
        )

    def close(self) -> None:
        """Close the audit log."""
        if self.audit is not None:
            self.audit.close()

    def authenticate(self, exchange: Exchange, authorization: str | None) -> None:
        """Name the client by its token. Raises Refusal without one that is known."""
        if self.tokens is None:
            return
        scheme, _, token = (authorization or "").partition(" ")
        name = self.tokens.client(token.strip()) if scheme.lower() == "bearer" else None
        if name is None:
            raise Refusal(Reason.UNAUTHENTICATED, "a bearer token is needed")
        exchange.client = name

    def refused(self, exchange: Exchange, refusal: Refusal) -> None:
        """Count and log a request that got no further than here."""
        exchange.failed(refusal.reason.word, refusal)
        seconds = time.perf_counter() - exchange.started
        self.hub.meter.ended("", exchange.protocol, exchange.outcome, seconds, client=exchange.client)
        log("request", model="", protocol=exchange.protocol, outcome=exchange.outcome, ms=round(seconds * 1000, 2))


class HttpGate:
    """ASGI middleware: `Host`, `Origin`, tokens, request ids, and the audit log.

    The health routes and the page need no token: they hold nothing to protect.
    """

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app, self._gate = app, gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        gate = self._gate
        headers: dict[bytes, bytes] = {}
        repeated = False
        for name, value in scope["headers"]:
            if name in _WANTED:
                repeated = repeated or name in headers
                headers[name] = value
        client = scope.get("client")
        exchange = Exchange(
            "http",
            address=client[0] if client else "",
            request_id=headers.get(b"x-request-id", b"").decode("latin-1"),
        )
        exchange.client = scope.get("state", {}).get(CERTIFICATE, "")
        EXCHANGE.set(exchange)
        answer = _Answer(send, exchange, gate.audit, quiet=_is_open(scope["path"]))
        try:
            if repeated or (b"host" not in headers and scope["http_version"] != "1.0"):
                raise Refusal(Reason.INVALID, "a header that must be there once is missing or repeated")
            page = scope["path"] == "/" and scope["method"] == "GET"
            gate.origins.check(
                headers.get(b"host"), headers.get(b"origin"), headers.get(b"sec-fetch-site"), navigates=page
            )
            if not _is_open(scope["path"]):
                authorization = headers.get(b"authorization")
                gate.authenticate(exchange, authorization.decode("latin-1") if authorization is not None else None)
        except Refusal as refusal:
            gate.refused(exchange, refusal)
            more = {"WWW-Authenticate": "Bearer"} if refusal.reason is Reason.UNAUTHENTICATED else None
            response = JSONResponse({"error": refusal.message}, refusal.reason.status, headers=more)
            await response(scope, receive, answer)
            return
        if gate.audit is None:
            await self._app(scope, receive, answer)
            return
        exchange.digest = hashlib.sha256()

        async def received() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                await digest(exchange, message.get("body", b""))
            return message

        try:
            await self._app(scope, received, answer)
        finally:
            await answer.give_up()


class _Answer:
    """Sends an answer with its request's id, once the audit log has it."""

    def __init__(self, send: Send, exchange: Exchange, audit: AuditLog | None, *, quiet: bool) -> None:
        self._send, self._exchange, self._audit, self._quiet = send, exchange, audit, quiet
        self._begun = self._dropped = False

    async def __call__(self, message: Message) -> None:
        if message["type"] != "http.response.start":
            if not self._dropped:
                await self._send(message)
            return
        self._begun = True
        exchange = self._exchange
        exchange.status = status = message["status"]
        if status >= 400 and exchange.outcome == "ok":
            exchange.outcome = Reason.INTERNAL.word if status >= 500 else Reason.INVALID.word
        message["headers"] = [*message["headers"], (REQUEST_ID.encode(), exchange.id.encode())]
        # A probe that is answered every second is nobody's access to anything.
        if self._audit is not None and not (self._quiet and status < 400):
            try:
                await self._audit.write(exchange)
            except Refusal as refusal:
                self._dropped = True
                refused = JSONResponse({"error": refusal.message}, refusal.reason.status)
                await refused({"type": "http"}, _nothing, self._send)
                return
        await self._send(message)

    async def give_up(self) -> None:
        """Record a request that ends without an answer: its client went away, or the server ends."""
        if self._begun or self._audit is None:
            return
        self._exchange.status = 499
        if self._exchange.outcome == "ok":
            self._exchange.outcome = Reason.CANCELLED.word
        try:
            await self._audit.write(self._exchange)
        except Refusal:
            return  # nothing is answered


class GrpcGate:
    """The same for a gRPC call: metadata for headers, and no `Host`, which no browser can choose here.

    A browser speaks HTTP/2 over TLS alone, where the certificate names the host, and always sends an origin.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def enter(self, context: Any) -> tuple[Exchange, Mapping[str, Any]]:
        """The call as an exchange, and its metadata."""
        metadata = dict(context.invocation_metadata() or ())
        exchange = Exchange(
            "grpc", address=grpc_address(context.peer() or ""), request_id=str(metadata.get(REQUEST_ID, ""))
        )
        if self._gate.hub.settings.client_ca is not None:
            names = (context.auth_context() or {}).get("x509_common_name", [])
            exchange.client = certificate_name(names[0].decode("utf-8", "replace") if names else "")
        if self._gate.audit is not None:
            exchange.digest = hashlib.sha256()
        EXCHANGE.set(exchange)
        return exchange, metadata

    def admit(self, exchange: Exchange, metadata: Mapping[str, Any], *, health: bool) -> None:
        """Raise Refusal for a call that may not be answered; health needs no token."""
        try:
            if "origin" in metadata or "sec-fetch-site" in metadata:
                raise Refusal(Reason.FORBIDDEN, "the call comes from a web page")
            if not health:
                self._gate.authenticate(exchange, str(metadata.get("authorization", "")))
        except Refusal as refusal:
            self._gate.refused(exchange, refusal)
            raise

    async def record(self, exchange: Exchange, status: str) -> None:
        """Write the call's line, if the audit log is on. Raises Refusal if it cannot be."""
        if self._gate.audit is not None:
            exchange.status = status
            await self._gate.audit.write(exchange)


async def digest(exchange: Exchange, raw: bytes) -> None:
    """Take bytes into a request's digest, if one is wanted; many of them in a thread."""
    if exchange.digest is None:
        return
    if len(raw) > _LONG:
        await asyncio.to_thread(exchange.receive, raw)
    else:
        exchange.receive(raw)


def certificate_name(name: str) -> str:
    """A client's name by its certificate, as it may stand in a log."""
    return name if NAME.fullmatch(name) else "certificate"


def _is_open(path: str) -> bool:
    return path == "/" or path.startswith("/v2/health/")


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
