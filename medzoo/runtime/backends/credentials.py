"""What a client shows a server, and what it trusts: from environment variables that name files.

`MEDZOO_TOKEN` or `MEDZOO_TOKEN_FILE`: the bearer token. `MEDZOO_CA`: PEM file of certificate authorities to trust
besides the system's. `MEDZOO_CERT` and `MEDZOO_KEY`: PEM files of the client's own certificate and its key.
"""

from __future__ import annotations

import os
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from medzoo.errors import UserError

TOKEN, TOKEN_FILE = "MEDZOO_TOKEN", "MEDZOO_TOKEN_FILE"
AUTHORITIES, CERTIFICATE, KEY = "MEDZOO_CA", "MEDZOO_CERT", "MEDZOO_KEY"
# What OpenSSL, Python and gRPC say, and what it means.
_MEANINGS = (
    (r"certificate has expired", "its certificate has expired"),
    (r"certificate is not yet valid", "its certificate is not valid yet"),
    (
        r"hostname mismatch|ip address mismatch|is not in peer certificate|hostname verification",
        "its certificate is for another host",
    ),
    (r"certificate_verify_failed|certificate verify failed", "its certificate is not signed by a trusted authority"),
    (r"alert_certificate_expired|alert certificate expired", "this client's certificate has expired"),
    (r"certificate_required|certificate required|peer_did_not_return", "it requires a client certificate"),
    (
        r"unknown_ca|unknown ca|bad_certificate|bad certificate|certificate_unknown",
        "it rejects this client's certificate",
    ),
    (
        r"wrong_version_number|wrong version number|record layer failure|http_request",
        "it does not speak TLS on this port",
    ),
)
_HINTS = {
    "its certificate is not signed by a trusted authority": f"set ${AUTHORITIES} to a PEM file with its authority",
    "it requires a client certificate": f"set ${CERTIFICATE} and ${KEY} to its PEM files",
    "this client's certificate has expired": f"renew the certificate in ${CERTIFICATE}",
    "it rejects this client's certificate": f"check the certificate in ${CERTIFICATE}",
    "it does not speak TLS on this port": "use http:// or grpc:// for a server without TLS",
}


@dataclass(frozen=True)
class Certificates:
    """PEM files: authorities to trust (None: the system's alone), and a client's own certificate and key."""

    authorities: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @classmethod
    def from_environment(cls) -> Certificates:
        """Raises UserError if a variable names no PEM file, or a certificate has no key."""
        given = {name: Path(os.environ[name]) for name in (AUTHORITIES, CERTIFICATE, KEY) if os.environ.get(name)}
        found = cls(given.get(AUTHORITIES), given.get(CERTIFICATE), given.get(KEY))
        if (found.certificate is None) != (found.key is None):
            raise UserError(
                "a client certificate needs its key, and a key its certificate; set both",
                where=f"${CERTIFICATE}, ${KEY}",
            )
        found.context()  # reads them all
        return found

    def context(self) -> ssl.SSLContext:
        """What these files mean to Python's TLS. Raises UserError that names the file which cannot be used."""
        context = ssl.create_default_context()
        if self.authorities is not None:
            try:
                context.load_verify_locations(self.authorities)
            except (OSError, ssl.SSLError) as error:
                raise UserError(
                    f"cannot load CA certificates: {_words(error)}", where=f"${AUTHORITIES}={self.authorities}"
                ) from error
        if self.certificate is not None and self.key is not None:
            try:
                # Without a password, a key that needs one would be asked for on the terminal.
                context.load_cert_chain(self.certificate, self.key, password=lambda: b"")
            except (OSError, ssl.SSLError) as error:
                place = f"${CERTIFICATE}={self.certificate}, ${KEY}={self.key}"
                raise UserError(f"cannot load the certificate and its key: {_words(error)}", where=place) from error
        return context


def read_token() -> str | None:
    """The token in $MEDZOO_TOKEN, else in the file that $MEDZOO_TOKEN_FILE names, else none. Raises UserError."""
    if token := os.environ.get(TOKEN):
        return check_token(token, where=f"${TOKEN}")
    if not (name := os.environ.get(TOKEN_FILE)):
        return None
    where = f"${TOKEN_FILE}={name}"
    try:
        token = Path(name).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("cannot read the token file", where=where) from error
    if not token:
        raise UserError("the file contains no token", where=where)
    return check_token(token, where=where)


def check_token(token: str, *, where: str) -> str:
    """The token. Raises UserError, without showing it, if no header can carry it."""
    if not re.fullmatch(r"[ -~]+", token):
        raise UserError("invalid token: it contains characters that an HTTP header cannot carry", where=where)
    return token


def redact_url(url: str) -> str:
    """A URL as it may be shown: no user, no password, no query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return re.sub(r"//.*@|[?#].*", "//", url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def tls_error(words: str, *, where: str) -> UserError | None:
    """The error that a failed TLS connection means, by a library's words for it; None if they are of something else."""
    for pattern, meaning in _MEANINGS:
        if re.search(pattern, words, re.IGNORECASE):
            return UserError(f"cannot connect to the server: {meaning}", where=where, hint=_HINTS.get(meaning))
    return None


def _words(error: OSError) -> str:
    return " ".join(str(getattr(error, "reason", None) or error.strerror or error).split())
