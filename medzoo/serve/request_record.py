"""The record of a request for logs and audit: started on arrival, completed by its handlers."""

from __future__ import annotations

import os
import re
import time
from contextvars import ContextVar
from typing import Any
from urllib.parse import unquote

_REQUEST_ID = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")


class RequestRecord:
    """A request and its outcome.

    `client`: name of the token or certificate, "" without one. `address`: the peer's, without its port. `model`: its
    name, "" for an unknown one. `outcome`: "ok" or an error code's label; `error`: class of the underlying error.
    `status`: HTTP status or name of the gRPC status. `digest`: running SHA-256 of the received bytes, if the audit log
    needs it; `files`: SHA-256 of each uploaded file.
    """

    __slots__ = (
        "address",
        "client",
        "digest",
        "error",
        "files",
        "id",
        "model",
        "outcome",
        "protocol",
        "received",
        "started",
        "status",
    )

    def __init__(self, protocol: str, *, address: str = "", request_id: str = "") -> None:
        self.protocol = protocol
        self.address = address
        # A client's own id may hold anything, a patient's name too, unless it is a UUID.
        self.id = request_id if _REQUEST_ID.fullmatch(request_id) else os.urandom(16).hex()
        self.client = ""
        self.model = ""
        self.outcome = "ok"
        self.error = ""
        self.status: int | str = ""
        self.digest: Any = None
        self.received = 0
        self.files: list[str] | None = None
        self.started = time.perf_counter()

    def receive(self, raw: bytes | memoryview) -> None:
        """Add bytes of the input to the count and the digest."""
        if raw:
            self.digest.update(raw)
            self.received += len(raw)

    def failed(self, outcome: str, error: BaseException) -> None:
        """Set the outcome, an error code's label, and the class of the error's cause."""
        self.outcome, self.error = outcome, type(error.__cause__ or error).__name__


CURRENT_RECORD: ContextVar[RequestRecord | None] = ContextVar("medzoo_request", default=None)
"""Record of the current request, if any."""


def current_record() -> RequestRecord:
    """Return the record of the current request; outside of one, a new record."""
    return CURRENT_RECORD.get() or RequestRecord("")


def grpc_peer(peer: str) -> tuple[str, int] | None:
    """Return address and port of a gRPC peer; None for one that is not on a network."""
    port = unquote(peer).rpartition(":")[2]
    return (grpc_address(peer), int(port)) if peer.startswith("ip") and port.isdecimal() else None


def grpc_address(peer: str) -> str:
    """Return the address of a gRPC peer such as "ipv4:127.0.0.1:5000" or "ipv6:%5B::1%5D:5000"."""
    kind, _, rest = unquote(peer).partition(":")
    return rest.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else kind
