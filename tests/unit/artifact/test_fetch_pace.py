"""A server that trickles, lies about what it sends or sends elsewhere is given up in one line."""

from __future__ import annotations

import contextlib
import gzip
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from medzoo.artifact.source import FetchLimits, HttpSource
from medzoo.errors import UserError

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


@pytest.fixture
def served() -> Iterator[Callable[[Answer], str]]:
    """Serves whatever a function writes; gives the address."""
    servers = []

    def serve(answer: Answer) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                with contextlib.suppress(OSError):
                    answer(self)

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def head(to: http.server.BaseHTTPRequestHandler, code: int = 200, **headers: Any) -> None:
    to.send_response(code)
    for name, value in headers.items():
        to.send_header(name.replace("_", "-"), str(value))
    to.end_headers()


def whole(base: str, pace: FetchLimits, *, offset: int = 0) -> bytes:
    with HttpSource(base, pace=pace).open("index.json", offset=offset) as stream:
        found = b""
        while piece := stream.read(1 << 18):
            found += piece
        return found


def trickle(to: http.server.BaseHTTPRequestHandler) -> None:
    head(to, Content_Length=100_000)
    while True:
        to.wfile.write(b"{")
        to.wfile.flush()
        time.sleep(0.02)


def trickled_head(to: http.server.BaseHTTPRequestHandler) -> None:
    to.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while True:
        to.wfile.write(b"a")
        to.wfile.flush()
        time.sleep(0.02)


def silence(to: http.server.BaseHTTPRequestHandler) -> None:
    head(to, Content_Length=100_000)
    time.sleep(5)


@pytest.mark.parametrize(
    ("answer", "said"),
    [(trickle, "bytes a second, which is less than"), (trickled_head, "no answer came"), (silence, "timed out")],
)
def test_a_server_that_trickles_is_given_up(served: Any, answer: Answer, said: str) -> None:
    with pytest.raises(UserError, match=said):
        whole(served(answer), FetchLimits(window=0.3))


def test_all_of_it_has_a_deadline(served: Any) -> None:
    def steady(to: http.server.BaseHTTPRequestHandler) -> None:
        head(to)
        while True:
            to.wfile.write(bytes(10_000))
            time.sleep(0.02)

    with pytest.raises(UserError, match=r"was not fetched within 0\.5 seconds"):
        whole(served(steady), FetchLimits(deadline=0.5))


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "http://localhost:1/x", "http://169.254.169.254/latest/", "ftp://127.0.0.1/x"]
)
def test_a_redirect_to_another_host_is_reported_and_not_followed(served: Any, target: str) -> None:
    with pytest.raises(UserError, match=r"it was not followed|is not allowed"):
        whole(served(lambda to: head(to, 302, Location=target)), FetchLimits())


def test_a_redirect_on_the_same_host_is_followed(served: Any) -> None:
    def moved(to: http.server.BaseHTTPRequestHandler) -> None:
        if to.path == "/index.json":
            head(to, 302, Location="/moved.json", Content_Length=0)
        else:
            head(to, Content_Length=2)
            to.wfile.write(b"{}")

    assert whole(served(moved), FetchLimits()) == b"{}"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_bytes_in_an_encoding_are_refused(served: Any, encoding: str) -> None:
    def packed(to: http.server.BaseHTTPRequestHandler) -> None:
        raw = gzip.compress(b"{}")
        head(to, Content_Encoding=encoding, Content_Length=len(raw))
        to.wfile.write(raw)

    with pytest.raises(UserError, match=f"was sent in the encoding '{encoding}'"):
        whole(served(packed), FetchLimits())


def test_a_part_from_another_place_is_refused(served: Any) -> None:
    def shifted(to: http.server.BaseHTTPRequestHandler) -> None:
        head(to, 206, Content_Range="bytes 0-1/2", Content_Length=2)
        to.wfile.write(b"{}")

    with pytest.raises(UserError, match="from another place"):
        whole(served(shifted), FetchLimits(), offset=5)


def test_a_length_that_is_a_lie_gives_what_came(served: Any) -> None:
    def short(to: http.server.BaseHTTPRequestHandler) -> None:
        head(to, Content_Length=100)
        to.wfile.write(b"{}")

    assert whole(served(short), FetchLimits()) == b"{}"  # whoever asks knows how many bytes there must be
