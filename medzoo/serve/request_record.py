"""One request and what became of it, for the logs: set where it comes in, filled where it is worked on."""

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

    `client`: the name of its token or certificate, "" if it has none. `address`: of the peer, without its port.
    `model`: the name of a model that is served, "" otherwise. `outcome`: "ok" or a reason's word; `error`: the class
    of the error behind it. `status`: HTTP's number or gRPC's name. `digest`: a running SHA-256 of the bytes received,
    if they are wanted; `files`: the SHA-256 of each file among them.
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
        """Count bytes of the input, and take them into its digest."""
        if raw:
            self.digest.update(raw)
            self.received += len(raw)

    def failed(self, outcome: str, error: BaseException) -> None:
        """Note why it was not answered: a reason's word, and the class of the error at its root."""
        self.outcome, self.error = outcome, type(error.__cause__ or error).__name__


CURRENT_RECORD: ContextVar[RequestRecord | None] = ContextVar("medzoo_exchange", default=None)
"""The request that is being worked on, where there is one."""


def current_record() -> RequestRecord:
    """The request that is being worked on; outside of one, an record that nobody reads."""
    return CURRENT_RECORD.get() or RequestRecord("")


def grpc_address(peer: str) -> str:
    """The address in what gRPC calls a peer, such as "ipv4:127.0.0.1:5000" or "ipv6:%5B::1%5D:5000"."""
    kind, _, rest = unquote(peer).partition(":")
    return rest.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else kind
