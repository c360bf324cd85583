"""Network exposure of the server: loopback addresses, and protection of others."""

from __future__ import annotations

import ipaddress
import socket

from medzoo.errors import UserError
from medzoo.serve.settings import Settings


def is_loopback_address(text: str) -> bool:
    """Return True if `text` is a loopback IP address."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def is_loopback(host: str) -> bool:
    """Return True if `host` resolves to loopback addresses only."""
    if not host:
        return False  # every address of the machine
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        return False
    return bool(found) and all(is_loopback_address(address) for address in found)


def require_protection(settings: Settings) -> None:
    """Raise UserError for a network address without tokens or client certificates, unless `insecure` is set."""
    if settings.authenticates or settings.insecure or is_loopback(settings.host):
        return
    raise UserError(
        "anyone on the network could use this server",
        where=f"--host {settings.host}",
        hint="require tokens with --tokens FILE (medzoo token NAME --tokens FILE adds one), or allow it with "
        "--insecure",
    )
