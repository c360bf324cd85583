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
from medzoo.serve.inference_error import ErrorCode, InferenceError
from medzoo.serve.logs import log
from medzoo.serve.origin import OriginCheck
from medzoo.serve.repository import ModelRepository
from medzoo.serve.request_record import CURRENT_RECORD, RequestRecord, grpc_address
from medzoo.serve.settings import Settings
from medzoo.serve.tokens import NAME, Tokens

REQUEST_ID = "x-request-id"
CERTIFICATE = "medzoo_certificate"
"""Where a connection's state holds the name of the client's certificate."""
_LONG = 256 << 10  # bytes from which on hashing them would hold up the other requests
_WANTED = (b"host", b"origin", b"sec-fetch-site", b"authorization", b"x-request-id")


class AccessControl:
    """What both protocols ask before they answer. Raises UserError for settings that cannot be had."""

    def __init__(self, repository: ModelRepository) -> None:
        settings: Settings = repository.settings
        self.repository = repository
        self.origins = OriginCheck(settings)
        self.tokens = Tokens(settings.tokens, single=settings.token) if settings.has_tokens else None
        self.audit = (
            AuditLog(settings.audit_log, fsync=settings.audit_fsync, digests=repository.digests().get)
            if settings.audit_log is not None
            else None
        )

    def close(self) -> None:
        """Close the audit log."""
        if self.audit is not None:
            self.audit.close()

    def authenticate(self, record: RequestRecord, authorization: str | None) -> None:
        """Name the client by its token. Raises InferenceError without one that is known."""
        if self.tokens is None:
            return
        scheme, _, token = (authorization or "").partition(" ")
        name = self.tokens.client(token.strip()) if scheme.lower() == "bearer" else None
        if name is None:
            raise InferenceError(ErrorCode.UNAUTHENTICATED, "missing or invalid bearer token")
        record.client = name

    def refused(self, record: RequestRecord, refusal: InferenceError) -> None:
        """Count and log a request that got no further than here."""
        record.failed(refusal.code.label, refusal)
        seconds = time.perf_counter() - record.started
        self.repository.metrics.observe_request("", record.protocol, record.outcome, seconds, client=record.client)
        log("request", model="", protocol=record.protocol, outcome=record.outcome, ms=round(seconds * 1000, 2))


class AccessMiddleware:
    """ASGI middleware: `Host`, `Origin`, tokens, request ids, and the audit log.

    The health routes and the page need no token: they hold nothing to protect.
    """

    def __init__(self, app: ASGIApp, access: AccessControl) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        access = self._access
        headers: dict[bytes, bytes] = {}
        repeated = False
        for name, value in scope["headers"]:
            if name in _WANTED:
                repeated = repeated or name in headers
                headers[name] = value
        client = scope.get("client")
        record = RequestRecord(
            "http",
            address=client[0] if client else "",
            request_id=headers.get(b"x-request-id", b"").decode("latin-1"),
        )
        record.client = scope.get("state", {}).get(CERTIFICATE, "")
        CURRENT_RECORD.set(record)
        answer = _RecordedSend(send, record, access.audit, quiet=_is_open(scope["path"]))
        try:
            if repeated or (b"host" not in headers and scope["http_version"] != "1.0"):
                raise InferenceError(ErrorCode.INVALID, "a required header is missing or repeated")
            page = scope["path"] == "/" and scope["method"] == "GET"
            access.origins.check(
                headers.get(b"host"), headers.get(b"origin"), headers.get(b"sec-fetch-site"), navigates=page
            )
            if not _is_open(scope["path"]):
                authorization = headers.get(b"authorization")
                access.authenticate(record, authorization.decode("latin-1") if authorization is not None else None)
        except InferenceError as refusal:
            access.refused(record, refusal)
            more = {"WWW-Authenticate": "Bearer"} if refusal.code is ErrorCode.UNAUTHENTICATED else None
            response = JSONResponse({"error": refusal.message}, refusal.code.http_status, headers=more)
            await response(scope, receive, answer)
            return
        if access.audit is None:
            await self._app(scope, receive, answer)
            return
        record.digest = hashlib.sha256()

        async def received() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                await digest(record, message.get("body", b""))
            return message

        try:
            await self._app(scope, received, answer)
        finally:
            await answer.give_up()


class _RecordedSend:
    """Sends an answer with its request's id, once the audit log has it."""

    def __init__(self, send: Send, record: RequestRecord, audit: AuditLog | None, *, quiet: bool) -> None:
        self._send, self._record, self._audit, self._quiet = send, record, audit, quiet
        self._begun = self._dropped = False

    async def __call__(self, message: Message) -> None:
        if message["type"] != "http.response.start":
            if not self._dropped:
                await self._send(message)
            return
        self._begun = True
        record = self._record
        record.status = status = message["status"]
        if status >= 400 and record.outcome == "ok":
            record.outcome = ErrorCode.INTERNAL.label if status >= 500 else ErrorCode.INVALID.label
        message["headers"] = [*message["headers"], (REQUEST_ID.encode(), record.id.encode())]
        # A probe that is answered every second is nobody's access to anything.
        if self._audit is not None and not (self._quiet and status < 400):
            try:
                await self._audit.write(record)
            except InferenceError as refusal:
                self._dropped = True
                refused = JSONResponse({"error": refusal.message}, refusal.code.http_status)
                await refused({"type": "http"}, _nothing, self._send)
                return
        await self._send(message)

    async def give_up(self) -> None:
        """Record a request that ends without an answer: its client went away, or the server ends."""
        if self._begun or self._audit is None:
            return
        self._record.status = 499
        if self._record.outcome == "ok":
            self._record.outcome = ErrorCode.CANCELLED.label
        try:
            await self._audit.write(self._record)
        except InferenceError:
            return  # nothing is answered


class GrpcAccess:
    """The same for a gRPC call: metadata for headers, and no `Host`, which no browser can choose here.

    A browser speaks HTTP/2 over TLS alone, where the certificate names the host, and always sends an origin.
    """

    def __init__(self, access: AccessControl) -> None:
        self._access = access

    def enter(self, context: Any) -> tuple[RequestRecord, Mapping[str, Any]]:
        """The call as an record, and its metadata."""
        metadata = dict(context.invocation_metadata() or ())
        record = RequestRecord(
            "grpc", address=grpc_address(context.peer() or ""), request_id=str(metadata.get(REQUEST_ID, ""))
        )
        if self._access.repository.settings.client_ca is not None:
            names = (context.auth_context() or {}).get("x509_common_name", [])
            record.client = certificate_name(names[0].decode("utf-8", "replace") if names else "")
        if self._access.audit is not None:
            record.digest = hashlib.sha256()
        CURRENT_RECORD.set(record)
        return record, metadata

    def admit(self, record: RequestRecord, metadata: Mapping[str, Any], *, health: bool) -> None:
        """Raise InferenceError for a call that may not be answered; health needs no token."""
        try:
            if "origin" in metadata or "sec-fetch-site" in metadata:
                raise InferenceError(ErrorCode.FORBIDDEN, "calls from web pages are not allowed")
            if not health:
                self._access.authenticate(record, str(metadata.get("authorization", "")))
        except InferenceError as refusal:
            self._access.refused(record, refusal)
            raise

    async def write_audit(self, record: RequestRecord, status: str) -> None:
        """Write the call's line, if the audit log is on. Raises InferenceError if it cannot be."""
        if self._access.audit is not None:
            record.status = status
            await self._access.audit.write(record)


async def digest(record: RequestRecord, raw: bytes) -> None:
    """Take bytes into a request's digest, if one is wanted; many of them in a thread."""
    if record.digest is None:
        return
    if len(raw) > _LONG:
        await asyncio.to_thread(record.receive, raw)
    else:
        record.receive(raw)


def certificate_name(name: str) -> str:
    """A client's name by its certificate, as it may stand in a log."""
    return name if NAME.fullmatch(name) else "certificate"


def _is_open(path: str) -> bool:
    return path == "/" or path.startswith("/v2/health/")


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
