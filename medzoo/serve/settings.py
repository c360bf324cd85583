"""Settings of the server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medzoo.io.limits import SERVER, Limits


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The server's addresses, access control and limits.

    host, http_port, grpc_port: where to listen; port 0 lets the system choose, a gRPC port of None turns gRPC off.
    token, tokens: one bearer token for all clients, and a file with one for each (medzoo.serve.tokens).
    allow_hosts: other host names by which the server may be reached (medzoo.serve.origin).
    insecure: allow a network address without tokens.
    certificate, key: PEM files for TLS on both ports.
    client_ca: PEM file of the authorities that must have signed the clients' certificates.
    audit_log, audit_fsync: a file that gets a line a request (medzoo.serve.audit), synced before the response.
    max_batch_size, max_delay (seconds), max_queue: see medzoo.runtime.backends.batching.
    max_body, max_json: bytes of a request; of its JSON, or of gRPC tensors that are not sent as raw contents.
    max_inflight_bytes: bytes of all requests that are being received, wait or run.
    timeout: seconds within which a request must be received and processed.
    uploads: image files processed at the same time; as many again may wait.
    drain: seconds that active requests may take once the server is told to stop.
    limits, decoder_memory, decoder_seconds: size of an image file; bytes and CPU seconds for decoding and preparing it.
    max_connections, max_client_connections: HTTP connections in total, and per client address; as many of gRPC.
    max_header, header_timeout: bytes of a request's header, and seconds within which it must arrive.
    """

    host: str = "127.0.0.1"
    http_port: int = 8000
    grpc_port: int | None = 8001
    token: str | None = None
    tokens: Path | None = None
    allow_hosts: tuple[str, ...] = ()
    insecure: bool = False
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    audit_log: Path | None = None
    audit_fsync: bool = False
    max_batch_size: int = 8
    max_delay: float = 0.0
    max_queue: int = 64
    max_body: int = 256 << 20
    max_inflight_bytes: int = 512 << 20
    timeout: float = 60.0
    uploads: int = 2
    drain: float = 30.0
    limits: Limits = SERVER
    decoder_memory: int = 896 << 20
    decoder_seconds: float = 60.0
    max_json: int = 32 << 20
    max_connections: int = 512
    max_client_connections: int = 128
    max_header: int = 64 << 10
    header_timeout: float = 10.0

    @property
    def has_tokens(self) -> bool:
        """True if clients need a token."""
        return self.token is not None or self.tokens is not None

    @property
    def authenticates(self) -> bool:
        """True if clients need a token or a certificate."""
        return self.has_tokens or self.client_ca is not None
