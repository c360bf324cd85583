"""What an operator can set of the server; knows nothing of how it is used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The server's addresses and bounds.

    Ports of 0 are chosen by the system; a gRPC port of None means no gRPC. `token`: what clients must send
    as a bearer token. `certificate` and `key`: PEM files, for TLS on both ports. `max_rows`, `max_delay`
    (seconds) and `max_queue`: see medzoo.runtime.batching. `max_body`: bytes of one request; `max_held`:
    bytes of all requests that are being read or wait. `timeout`: seconds after which a request that has not
    begun is refused. `uploads`: image files answered at the same time; as many again may wait. `drain`:
    seconds that requests have to end once the server is told to stop.
    """

    host: str = "127.0.0.1"
    http_port: int = 8000
    grpc_port: int | None = 8001
    token: str | None = None
    certificate: Path | None = None
    key: Path | None = None
    max_rows: int = 8
    max_delay: float = 0.0
    max_queue: int = 64
    max_body: int = 256 << 20
    max_held: int = 1 << 30
    timeout: float = 60.0
    uploads: int = 2
    drain: float = 30.0
