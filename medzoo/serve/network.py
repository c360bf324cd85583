"""Checks of the network settings before a port is opened: protection of public addresses, and TLS files."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Callable

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


def check_tls(settings: Settings) -> None:
    """Raise UserError for missing, invalid or mismatched certificates and keys."""
    if (settings.certificate is None) != (settings.key is None):
        raise UserError("TLS needs both a certificate and a key", where="--tls-cert, --tls-key")
    if settings.client_ca is not None and settings.certificate is None:
        raise UserError("client certificates need TLS", where="--tls-client-ca", hint="add --tls-cert and --tls-key")
    if settings.certificate is None:
        return
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # Without a password, a key that needs one would be asked for on the terminal.
        context.load_cert_chain(settings.certificate, settings.key, password=lambda: b"")
    except (OSError, ssl.SSLError) as error:
        place = f"{settings.certificate}, {settings.key}"
        raise UserError(f"cannot load the certificate and its key: {_words(error)}", where=place) from error
    if settings.client_ca is not None:
        try:
            context.load_verify_locations(settings.client_ca)
        except (OSError, ssl.SSLError) as error:
            raise UserError(f"cannot load CA certificates: {_words(error)}", where=str(settings.client_ca)) from error


def report_handshakes(context: ssl.SSLContext, report: Callable[[ssl.SSLError], None]) -> None:
    """Call `report` with the cause of every TLS handshake under `context` that fails."""

    class Reported(ssl.SSLObject):
        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise
            except ssl.SSLError as error:
                report(error)
                raise

    context.sslobject_class = Reported


def _words(error: OSError) -> str:
    return " ".join(str(getattr(error, "reason", None) or error.strerror or error).split())
