"""Validation of the server's TLS files before it opens a port."""

from __future__ import annotations

import ssl

from medzoo.errors import UserError
from medzoo.serve.settings import Settings


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


def _words(error: OSError) -> str:
    return " ".join(str(getattr(error, "reason", None) or error.strerror or error).split())
