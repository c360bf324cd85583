"""Accepted values of Host and Origin, and addresses that need tokens."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from medzoo.errors import UserError
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.protocol import open_inference_pb2 as pb
from medzoo.runtime.protocol.messages import SERVICE
from medzoo.serve.inference_error import InferenceError
from medzoo.serve.network import is_loopback, require_protection
from medzoo.serve.origin import OriginCheck
from medzoo.serve.server import Server
from medzoo.serve.settings import Settings
from tests.unit.serve.test_serve_http import question

PATHS = (
    ("GET", "/"),
    ("GET", "/v2/health/ready"),
    ("GET", "/v2/repository/index"),
    ("GET", "/metrics"),
    ("POST", "/predict/toy-segment"),
    ("POST", "/v2/models/toy-segment/infer"),
)


@pytest.fixture
def ask(toy_server: Server) -> Any:
    with httpx.Client(base_url=f"http://127.0.0.1:{toy_server.http_port}", timeout=30) as web:
        yield lambda method, path, **headers: web.request(method, path, headers=headers)


@pytest.mark.parametrize(
    "host",
    ["evil.example.com", "evil.example.com:8000", "localhost.evil.com", "10.0.0.7", "0.0.0.0", "127.0.0.1.nip.io"],
)
def test_a_foreign_host_is_refused_everywhere(ask: Callable[..., httpx.Response], host: str) -> None:
    for method, path in PATHS:
        response = ask(method, path, Host=host)
        assert response.status_code == 421, path
        assert "--allow-host" in response.json()["error"]
        assert "\n" not in response.json()["error"]


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:1", "localhost.:8000", "127.0.0.1:9", "127.8.8.8", "[::1]:80", "[::ffff:127.0.0.1]"],
)
def test_this_machine_s_own_names_are_accepted(ask: Callable[..., httpx.Response], host: str) -> None:
    assert ask("GET", "/v2/repository/index", Host=host).status_code == 200


@pytest.mark.parametrize("host", ["", "a b", "user@localhost", "localhost:port", "[::1", "localhost/x"])
def test_a_host_that_is_none_is_refused(ask: Callable[..., httpx.Response], host: str) -> None:
    assert ask("GET", "/v2", Host=host).status_code == 400


@pytest.mark.parametrize("lines", ["", "Host: localhost\r\nHost: localhost\r\n", "Host: localhost\r\nHost: evil\r\n"])
def test_a_host_comes_exactly_once(toy_server: Server, lines: str) -> None:
    with socket.create_connection(("127.0.0.1", toy_server.http_port)) as raw:
        raw.sendall(f"GET /v2 HTTP/1.1\r\n{lines}\r\n".encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example.com",
        "null",
        "http://localhost:1",
        "https://127.0.0.1",
        "file://",
        "chrome-extension://abc",
        "x",
    ],
)
def test_a_foreign_origin_is_refused_everywhere(
    ask: Callable[..., httpx.Response], toy_server: Server, origin: str
) -> None:
    for method, path in PATHS:
        response = ask(method, path, Origin=origin)
        assert response.status_code == 403, path
        assert "origin" in response.json()["error"]
    assert "access-control-allow-origin" not in response.headers


def test_the_page_s_own_requests_are_served(toy_server: Server) -> None:
    for name in ("localhost", "127.0.0.1"):
        origin = f"http://{name}:{toy_server.http_port}"
        headers = {"Origin": origin, "Sec-Fetch-Site": "same-origin"}
        answer = httpx.post(f"{origin}/v2/models/toy-segment/infer", json=question(), headers=headers)
        assert answer.status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_another_page_embeds_is_refused_and_a_link_to_the_page_works(
    ask: Callable[..., httpx.Response], site: str
) -> None:
    for _, path in PATHS[1:4]:
        assert ask("GET", path, **{"Sec-Fetch-Site": site}).status_code == 403
    assert ask("GET", "/", **{"Sec-Fetch-Site": site}).status_code == 200
    assert ask("GET", "/v2", **{"Sec-Fetch-Site": "none"}).status_code == 200


def refused(settings: Settings, host: str, origin: str | None = None) -> int:
    try:
        OriginCheck(settings).check(host.encode(), origin.encode() if origin else None, None)
    except InferenceError as refusal:
        return refusal.code.http_status
    return 0


def test_names_that_are_allowed() -> None:
    named = Settings(allow_hosts=("medzoo.example.org", "other.example.org"))
    assert refused(named, "medzoo.example.org") == 0
    assert refused(named, "Medzoo.Example.Org:443", "https://medzoo.example.org") == 0
    # Behind a proxy that writes a Host of its own.
    assert refused(named, "127.0.0.1:8000", "https://other.example.org") == 0
    assert refused(named, "x.medzoo.example.org") == 421
    assert refused(named, "medzoo.example.org", "https://evil.example.org") == 403
    assert refused(Settings(allow_hosts=("*",)), "any.example.org") == 0
    assert refused(Settings(allow_hosts=("*",)), "any.example.org", "http://evil.example.org") == 403
    for wrong in ("http://medzoo.example.org", "a b", ""):
        with pytest.raises(UserError, match="--allow-host"):
            OriginCheck(Settings(allow_hosts=(wrong,)))


def test_on_a_network_address() -> None:
    guarded = Settings(host="0.0.0.0", token="t")
    assert refused(guarded, "medzoo.svc.cluster.local") == 0
    assert refused(guarded, "medzoo.svc.cluster.local", "http://evil.example.com") == 403
    open_ = Settings(host="0.0.0.0", insecure=True)
    assert refused(open_, "10.1.2.3:8000") == 0
    assert refused(open_, f"{socket.gethostname()}:8000") == 0
    assert refused(open_, "rebound.evil.example.com") == 421
    named = Settings(host="0.0.0.0", token="t", allow_hosts=("medzoo.example.org",))
    assert refused(named, "medzoo.example.org") == 0
    assert refused(named, "rebound.evil.example.com") == 421


def test_with_tls_a_page_without_it_is_foreign() -> None:
    secured = Settings(certificate=Path("c"), key=Path("k"))
    assert refused(secured, "localhost:8000", "https://localhost:8000") == 0
    assert refused(secured, "localhost:8000", "http://localhost:8000") == 403


@pytest.mark.parametrize("metadata", [("origin", "http://evil.example.com"), ("sec-fetch-site", "cross-site")])
def test_a_grpc_call_of_a_web_page_is_refused(toy_server: Server, metadata: tuple[str, str]) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{toy_server.grpc_port}") as channel:
        ready = channel.unary_unary(
            f"/{SERVICE}/ServerReady", request_serializer=pb.ServerReadyRequest.SerializeToString
        )
        with pytest.raises(grpc.RpcError) as caught:
            ready(pb.ServerReadyRequest(), metadata=(metadata,), timeout=20)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert ready(pb.ServerReadyRequest(), timeout=20)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("192.0.2.1", False),
        ("2001:db8::1", False),
    ],
)
def test_a_network_address_needs_tokens_or_insecure(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
    for more in ({"insecure": True}, {"token": "t"}, {"tokens": Path("t")}, {"client_ca": Path("c")}):
        require_protection(Settings(host=host, **more))
    if loopback:
        require_protection(Settings(host=host))
        return
    with pytest.raises(UserError, match="--tokens FILE") as caught:
        require_protection(Settings(host=host))
    assert "--insecure" in str(caught.value)


@pytest.mark.parametrize("more", [[], ["--no-supervise"]])
def test_the_command_says_both_in_one_line(toy_graphs: dict[str, Path], more: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "medzoo", "serve", str(toy_graphs["segment"]), "--host", "0.0.0.0", *more],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: --host 0.0.0.0: ")
    assert "--tokens FILE" in done.stderr
    assert "--insecure" in done.stderr


def test_insecure_serves_the_network(toy_graphs: dict[str, Path], start: Callable[..., Server]) -> None:
    server = start([OnnxBackend(toy_graphs["segment"], device="cpu")], host="0.0.0.0", insecure=True)
    assert httpx.get(f"http://127.0.0.1:{server.http_port}/v2").status_code == 200
