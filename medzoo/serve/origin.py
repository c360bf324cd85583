"""Checks of `Host` and `Origin`: web pages of other sites must not reach the server through a user's browser.

A page can resolve its own host name to 127.0.0.1 (DNS rebinding) and then read responses as its own, or send a form to
this address without reading the response (CSRF). Browsers reveal both: the first in `Host` (RFC 9110, section 7.2), the
second in `Origin` (RFC 6454) and `Sec-Fetch-Site` (W3C Fetch Metadata).
"""

from __future__ import annotations

import ipaddress
import re
import socket
from urllib.parse import urlsplit

from medzoo.errors import UserError
from medzoo.serve.inference_error import ErrorCode, InferenceError
from medzoo.serve.network import is_loopback, is_loopback_address
from medzoo.serve.settings import Settings

_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_MOST_KNOWN = 256
ANY = "*"


class OriginCheck:
    """Checks `Host` and `Origin` by the server's settings.

    On a loopback address, `Host` is that of this machine or one of `allow_hosts`. On a network address, where clients
    have no token and no certificate, or `allow_hosts` are given, it may also be any IP address (which no name was
    rebound to) and this machine's own name. `Origin` is the server's own everywhere, or of `allow_hosts`.
    """

    def __init__(self, settings: Settings) -> None:
        for name in settings.allow_hosts:
            if name != ANY and _split(name) is None:
                raise UserError("not a host name", where=f"--allow-host {name}", hint="as in medzoo.example.org")
        self._hosts = {_split(name)[0] for name in settings.allow_hosts if name != ANY}  # type: ignore[index]
        self._loopback = is_loopback(settings.host)
        self._any = ANY in settings.allow_hosts or (
            not self._loopback and settings.authenticates and not settings.allow_hosts
        )
        self._own = {"localhost"} if self._loopback else {"localhost", socket.gethostname().lower()}
        self._tls = settings.certificate is not None
        self._known: set[bytes] = set()

    def check(self, host: bytes | None, origin: bytes | None, site: bytes | None, *, navigates: bool = False) -> None:
        """Raise InferenceError for a foreign `Host`, `Origin`, or `Sec-Fetch-Site`; None: there is no such header.

        `navigates`: the request is for the page itself, to which other sites may link.
        """
        if host is not None and host not in self._known:
            self._check_host(host)
            if len(self._known) < _MOST_KNOWN:
                self._known.add(host)
        if origin is not None:
            self._check_origin(origin, host)
        elif site is not None and site not in (b"same-origin", b"none") and not navigates:
            raise InferenceError(ErrorCode.FORBIDDEN, "requests from other sites' pages are not allowed")

    def _check_host(self, raw: bytes) -> None:
        text = raw.decode("latin-1")
        parts = _split(text)
        if parts is None:
            raise InferenceError(ErrorCode.INVALID, "invalid Host header")
        name = parts[0]
        if self._any or name in self._own or name in self._hosts:
            return
        address = name.strip("[]")
        if is_loopback_address(address) or (not self._loopback and _is_address(address)):
            return
        raise InferenceError(
            ErrorCode.MISDIRECTED, f"the host {name[:80]!r} is not allowed (allow it with --allow-host {name[:80]})"
        )

    def _check_origin(self, raw: bytes, host: bytes | None) -> None:
        text = raw.decode("latin-1").lower()
        try:
            parts = urlsplit(text)
            default = _DEFAULT_PORTS.get(parts.scheme)
        except ValueError:
            parts, default = urlsplit(""), None
        origin = _split(parts.netloc) if default else None
        if origin is not None:
            own = _split(host.decode("latin-1")) if host is not None else None
            same = own is not None and (origin[0], origin[1] or default) == (own[0], own[1] or default)
            if same and not (self._tls and parts.scheme != "https"):
                return
            if origin[0] in self._hosts:
                return
        raise InferenceError(ErrorCode.FORBIDDEN, f"the origin {text[:80]!r} is not allowed (see --allow-host)")


def _split(authority: str) -> tuple[str, str] | None:
    """Split into host, in lower case and without a final dot, and port ("" if missing); None if invalid."""
    match = _AUTHORITY.fullmatch(authority.lower())
    return (match[1].rstrip("."), match[2] or "") if match else None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
