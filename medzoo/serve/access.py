"""Access control of both protocols: request records, origin checks, authentication and the audit log."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
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
"""Key of the client certificate's name in a connection's state."""
_LONG = 256 << 10  # bytes from which on hashing would block other requests
_WANTED = (b"host", b"origin", b"sec-fetch-site", b"authorization", b"x-request-id")


class AccessControl:
    """Authentication, origin checks and the audit log, shared by both protocols. Raises UserError for bad settings."""

    def __init__(self, repository: ModelRepository) -> None:
        settings: Settings = repository.settings
        self.repository = repository
        self.origins = OriginCheck(settings)
        self.tokens = Tokens(settings.tokens, single=settings.token) if settings.has_tokens else None
        self._writing: set[asyncio.Task[None]] = set()
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
        """Set the client's name by its bearer token. Raises InferenceError without a valid one."""
        if self.tokens is None:
            return
        scheme, _, token = (authorization or "").partition(" ")
        name = self.tokens.client(token.strip()) if scheme.lower() == "bearer" else None
        if name is None:
            raise InferenceError(ErrorCode.UNAUTHENTICATED, "missing or invalid bearer token")
        record.client = name

    def report_refused(self, address: str, status: int) -> None:
        """Log what a client sent that never became a request; `status`: the HTTP status of the answer."""
        code = ErrorCode.TOO_LARGE if status == 431 else ErrorCode.LATE if status == 408 else ErrorCode.INVALID
        record = RequestRecord("http", address=address)
        record.status, record.outcome = status, ErrorCode.FULL.label if status == 503 else code.label
        self._write_later(record)

    def report_handshake(self, error: ssl.SSLError) -> None:
        """Log a TLS handshake that failed; the client's address is not known yet."""
        record = RequestRecord("tls")
        record.outcome = ErrorCode.UNAUTHENTICATED.label
        record.error = str(error.reason or type(error).__name__)  # of OpenSSL's own list
        self._write_later(record)

    def _write_later(self, record: RequestRecord) -> None:
        self.repository.metrics.observe_request("", record.protocol, record.outcome, 0.0)
        if self.audit is None:
            return
        task = asyncio.get_running_loop().create_task(self._write_if_possible(record))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write_if_possible(self, record: RequestRecord) -> None:
        assert self.audit is not None
        with suppress(InferenceError):  # there is no response to hold back
            await self.audit.write(record)

    def deny(self, record: RequestRecord, error: InferenceError) -> None:
        """Count and log a request that was denied access."""
        record.failed(error.code.label, error)
        seconds = time.perf_counter() - record.started
        self.repository.metrics.observe_request("", record.protocol, record.outcome, seconds, client=record.client)
        log("request", model="", protocol=record.protocol, outcome=record.outcome, ms=round(seconds * 1000, 2))


class AccessMiddleware:
    """ASGI middleware: `Host`, `Origin`, tokens, request ids, and the audit log.

    The health routes and the page need no token: they contain nothing to protect.
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
        except InferenceError as error:
            access.deny(record, error)
            more = {"WWW-Authenticate": "Bearer"} if error.code is ErrorCode.UNAUTHENTICATED else None
            response = JSONResponse({"error": error.message}, error.code.http_status, headers=more)
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
            await answer.record_unanswered()


class _RecordedSend:
    """ASGI send that adds the request id, and writes the audit log before a response starts."""

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
        # Successful health probes are not logged.
        if self._audit is not None and not (self._quiet and status < 400):
            try:
                await self._audit.write(record)
            except InferenceError as error:
                self._dropped = True
                refused = JSONResponse({"error": error.message}, error.code.http_status)
                await refused({"type": "http"}, _nothing, self._send)
                return
        await self._send(message)

    async def record_unanswered(self) -> None:
        """Record a request that ends without a response: the client disconnected, or the server stops."""
        if self._begun or self._audit is None:
            return
        self._record.status = 499
        if self._record.outcome == "ok":
            self._record.outcome = ErrorCode.CANCELLED.label
        try:
            await self._audit.write(self._record)
        except InferenceError:
            return  # there is no response to hold back


class GrpcAccess:
    """Access control of gRPC calls, with metadata in place of headers.

    `Host` is not checked: browsers speak HTTP/2 over TLS only, where the certificate names the host, and always send an
    origin.
    """

    def __init__(self, access: AccessControl) -> None:
        self._access = access

    def start_record(self, context: Any) -> tuple[RequestRecord, Mapping[str, Any]]:
        """Start the record of a call; return it and the call's metadata."""
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

    def check(self, record: RequestRecord, metadata: Mapping[str, Any], *, health: bool) -> None:
        """Raise InferenceError for a call without access; health probes need no token."""
        try:
            if "origin" in metadata or "sec-fetch-site" in metadata:
                raise InferenceError(ErrorCode.FORBIDDEN, "calls from web pages are not allowed")
            if not health:
                self._access.authenticate(record, str(metadata.get("authorization", "")))
        except InferenceError as error:
            self._access.deny(record, error)
            raise

    async def write_audit(self, record: RequestRecord, status: str) -> None:
        """Write the call to the audit log, if it is on. Raises InferenceError if that fails."""
        if self._access.audit is not None:
            record.status = status
            await self._access.audit.write(record)


async def digest(record: RequestRecord, raw: bytes) -> None:
    """Add bytes to a request's digest, if the audit log needs it; large ones in a thread."""
    if record.digest is None:
        return
    if len(raw) > _LONG:
        await asyncio.to_thread(record.receive, raw)
    else:
        record.receive(raw)


def certificate_name(name: str) -> str:
    """Return a client's certificate name if it is safe to log, else "certificate"."""
    return name if NAME.fullmatch(name) else "certificate"


def _is_open(path: str) -> bool:
    return path == "/" or path.startswith("/v2/health/")


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
