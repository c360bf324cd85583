"""uvicorn's HTTP protocol without two copies of every large body, and with the client certificate's name."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from medzoo.serve.access import CERTIFICATE, certificate_name


class Pieces(HttpToolsProtocol):
    """Hands a piece of a body on as it came, where uvicorn adds it to a buffer and copies that for the application."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See HttpToolsProtocol; notes the name of the client's certificate, if it was asked for one."""
        super().connection_made(transport)
        secured = transport.get_extra_info("ssl_object")
        certificate = secured.getpeercert() if secured is not None else None
        if certificate:
            names = [value for part in certificate["subject"] for kind, value in part if kind == "commonName"]
            self.app_state = {**self.app_state, CERTIFICATE: certificate_name(names[0] if names else "")}

    def on_body(self, body: bytes) -> None:
        """See HttpToolsProtocol."""
        cycle = self.cycle
        if cycle.response_complete:
            return
        # Of bytes, the copy that the application is given is the piece itself.
        cycle.body = cycle.body + body if cycle.body else body  # type: ignore[assignment]
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()
