"""A client's token and TLS certificates, from environment variables.

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
# Messages of OpenSSL, Python and gRPC, and their meaning.
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
    """PEM files: trusted authorities (None: only the system's), and the client's certificate and key."""

    authorities: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @classmethod
    def from_environment(cls) -> Certificates:
        """Read the paths from the environment. Raises UserError for invalid files or a certificate without its key."""
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
        """Build an SSL context from the files. Raises UserError that names an invalid file."""
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
    """Read the token from $MEDZOO_TOKEN or the file $MEDZOO_TOKEN_FILE; None if neither is set. Raises UserError."""
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
    """Return a valid token. Raises UserError, which does not show it, if a header cannot carry it."""
    if not re.fullmatch(r"[ -~]+", token):
        raise UserError("invalid token: it contains characters that an HTTP header cannot carry", where=where)
    return token


def redact_url(url: str) -> str:
    """Strip user name, password and query from a URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return re.sub(r"//.*@|[?#].*", "//", url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def tls_error(words: str, *, where: str) -> UserError | None:
    """Translate a library's message about a failed TLS connection; None if it is about something else."""
    for pattern, meaning in _MEANINGS:
        if re.search(pattern, words, re.IGNORECASE):
            return UserError(f"cannot connect to the server: {meaning}", where=where, hint=_HINTS.get(meaning))
    return None


def _words(error: OSError) -> str:
    return " ".join(str(getattr(error, "reason", None) or error.strerror or error).split())
