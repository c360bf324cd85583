"""What an operator can set of the server; knows nothing of how it is used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medzoo.io.limits import SERVER, Limits


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The server's addresses and bounds.

    Ports of 0 are chosen by the system; a gRPC port of None means no gRPC. `token`: what clients must send
    as a bearer token; `tokens`: a file with one for each client (medzoo.serve.tokens). `certificate` and `key`: PEM
    files, for TLS on both ports; `client_ca`: PEM file of the authorities whose certificates clients must show.
    `allow_hosts`: names besides its own that the server may be reached by (medzoo.serve.origin). `insecure`: a network
    address without tokens is meant. `audit_log`: a file with a line for each request (medzoo.serve.audit);
    `audit_fsync`: each line is on the disk before its request is answered. `max_rows`, `max_delay`
    (seconds) and `max_queue`: see medzoo.runtime.backends.batching. `max_body`: bytes of one request; `max_held`:
    bytes of all requests that are being read or wait. `timeout`: seconds after which a request that has not
    begun is refused. `uploads`: image files answered at the same time; as many again may wait. `drain`:
    seconds that requests have to end once the server is told to stop. `limits`: the most that an image file may claim.
    `decoder_memory`: bytes that reading and preparing one may take, `decoder_seconds`: of computing time.
    `max_json`: bytes of a request's JSON, or of the tensors that a gRPC message does not carry as raw bytes.
    `max_connections`: HTTP connections, `max_client_connections`: of one address; `max_header`: bytes of a request's
    header, and `header_timeout`: seconds in which it must come.
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
    max_rows: int = 8
    max_delay: float = 0.0
    max_queue: int = 64
    max_body: int = 256 << 20
    max_held: int = 512 << 20
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
        """Whether clients need a token."""
        return self.token is not None or self.tokens is not None

    @property
    def authenticates(self) -> bool:
        """Whether clients need a token or a certificate."""
        return self.has_tokens or self.client_ca is not None
