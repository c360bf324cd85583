"""uvicorn's HTTP protocol without two copies of every large body."""

from __future__ import annotations

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Pieces(HttpToolsProtocol):
    """Hands a piece of a body on as it came, where uvicorn adds it to a buffer and copies that for the application."""

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
