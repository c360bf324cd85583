"""The audit log: a line for each request of both protocols, served or refused, before its response leaves."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from medzoo.errors import UserError
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.protocol import open_inference_pb2 as pb
from medzoo.runtime.protocol.messages import SERVICE
from medzoo.serve.audit import AuditLog
from medzoo.serve.inference_error import InferenceError
from medzoo.serve.request_record import RequestRecord, grpc_address
from medzoo.serve.server import Server
from tests.unit.serve.test_serve_http import png, question
from tests.unit.serve.test_serve_process import wait_for

FIELDS = [
    "time",
    "request",
    "protocol",
    "client",
    "address",
    "model",
    "model_sha256",
    "input_sha256",
    "input_bytes",
    "files_sha256",
    "status",
    "outcome",
    "error",
    "seconds",
]
SMITH = "smith-john"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


@pytest.fixture
def server(toy_graphs: dict[str, Path], start: Callable[..., Server], log: Path, tmp_path: Path) -> Server:
    tokens = tmp_path / "tokens"
    tokens.write_text("alice:one\n")
    tokens.chmod(0o600)
    return start([OnnxBackend(toy_graphs["segment"], device="cpu")], tokens=tokens, audit_log=log, max_body=100_000)


@pytest.fixture
def web(server: Server) -> Any:
    headers = {"Authorization": "Bearer one"}
    with httpx.Client(base_url=f"http://127.0.0.1:{server.http_port}", headers=headers, timeout=30) as client:
        yield client


def infer_grpc(server: Server, token: str, *, model: str = "toy-segment", raw: bytes = b"") -> tuple[bytes, str]:
    """The bytes sent, and the status."""
    request = pb.ModelInferRequest(model_name=model, id=SMITH)
    request.inputs.add(name="image", datatype="FP32", shape=[1, 1, 2, 2])
    request.raw_input_contents.append(raw or np.zeros(4, np.float32).tobytes())
    sent = request.SerializeToString()
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        try:
            channel.unary_unary(f"/{SERVICE}/ModelInfer")(
                sent, metadata=(("authorization", f"Bearer {token}"),), timeout=20
            )
        except grpc.RpcError as error:
            return sent, error.code().name
    return sent, "OK"


def test_a_line_names_client_model_and_input(
    server: Server, web: httpx.Client, log: Path, toy_graphs: dict[str, Path]
) -> None:
    body = json.dumps(question(id=SMITH)).encode()
    answer = web.post("/v2/models/toy-segment/infer", content=body)
    picture = png(np.zeros((8, 8), np.uint8))
    uploaded = web.post("/predict/toy-segment", files={"file": (f"{SMITH}.png", picture)})
    raw = web.post(f"/predict/toy-segment?name={SMITH}.png", content=picture)
    sent, status = infer_grpc(server, "one")
    assert status == "OK"
    http, upload, whole, rpc = lines(log)
    model = hashlib.sha256(toy_graphs["segment"].read_bytes()).hexdigest()
    for line in (http, upload, whole, rpc):
        assert list(line) == FIELDS
        assert (line["client"], line["address"], line["model"]) == ("alice", "127.0.0.1", "toy-segment")
        assert (line["model_sha256"], line["outcome"], line["error"]) == (model, "ok", None)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
        assert abs(datetime.fromisoformat(line["time"]) - datetime.now(UTC)) < timedelta(minutes=5)
        assert 0 < line["seconds"] < 60
    assert (http["protocol"], http["status"], rpc["protocol"], rpc["status"]) == ("http", 200, "grpc", "OK")
    assert (http["input_sha256"], http["input_bytes"]) == (hashlib.sha256(body).hexdigest(), len(body))
    assert (rpc["input_sha256"], rpc["input_bytes"]) == (hashlib.sha256(sent).hexdigest(), len(sent))
    digest = hashlib.sha256(picture).hexdigest()
    assert upload["files_sha256"] == whole["files_sha256"] == [digest]
    assert whole["input_sha256"] == digest
    assert [http["request"], upload["request"], whole["request"]] == [
        one.headers["x-request-id"] for one in (answer, uploaded, raw)
    ]
    assert len({line["request"] for line in (http, upload, whole, rpc)}) == 4
    assert SMITH not in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_refused_requests_have_a_line_too(server: Server, web: httpx.Client, log: Path) -> None:
    infer = "/v2/models/toy-segment/infer"
    other = {"Authorization": f"Bearer {SMITH}"}
    asked = [
        (web.post(infer, json=question(), headers=other), 401, "unauthenticated", ""),
        (web.get("/metrics", headers=other), 401, "unauthenticated", ""),
        (web.get("/v2", headers={"Host": f"{SMITH}.example.com"}), 421, "misdirected", ""),
        (web.post(infer, json=question(), headers={"Origin": "http://evil.example.com"}), 403, "forbidden", ""),
        (web.post(infer, json=question(threshold=SMITH)), 400, "invalid", "alice"),
        (web.post(infer, content=b"{" + SMITH.encode()), 400, "invalid", "alice"),
        (web.post(f"/v2/models/{SMITH}/infer", json=question()), 404, "unknown", "alice"),
        (web.post(infer, content=bytes(100_001)), 413, "too-large", "alice"),
        (web.post("/predict/toy-segment", files={"file": (f"{SMITH}.png", b"damaged")}), 400, "invalid", "alice"),
        (web.get(f"/{SMITH}"), 404, "invalid", "alice"),
        (web.delete("/v2"), 405, "invalid", "alice"),
    ]
    for token, model, raw, status, outcome, client in (
        (SMITH, "toy-segment", b"", "UNAUTHENTICATED", "unauthenticated", ""),
        ("one", SMITH, b"", "NOT_FOUND", "unknown", "alice"),
        ("one", "toy-segment", b"short", "INVALID_ARGUMENT", "invalid", "alice"),
    ):
        assert infer_grpc(server, token, model=model, raw=raw)[1] == status
        asked.append((None, status, outcome, client))  # type: ignore[arg-type]
    found = lines(log)
    assert [(line["status"], line["outcome"], line["client"]) for line in found] == [one[1:] for one in asked]
    for line, (response, *_) in zip(found, asked, strict=True):
        assert response is None or response.status_code == line["status"]
        assert line["model"] in ("", "toy-segment")
    assert found[5]["error"] == "UserError"
    assert SMITH not in log.read_text()


@pytest.mark.parametrize(
    ("sent", "status", "outcome"),
    [
        (f"{SMITH} \x00\x01\r\n\r\n", 400, "invalid"),
        (f"GET /{SMITH} HTTP/9.9\r\n\r\n", 400, "invalid"),
        (f"GET /v2 HTTP/1.1\r\nHost: localhost\r\nX: {SMITH}{'y' * 9000}\r\n\r\n", 431, "too-large"),
        (f"GET /{SMITH} HT", 408, "late"),
    ],
)
def test_what_never_became_a_request_has_a_line(
    toy_graphs: dict[str, Path], start: Callable[..., Server], log: Path, sent: str, status: int, outcome: str
) -> None:
    backend = OnnxBackend(toy_graphs["segment"], device="cpu")
    server = start([backend], audit_log=log, max_header=4096, header_timeout=0.3, grpc_port=None)
    with socket.create_connection(("127.0.0.1", server.http_port)):  # one that sends nothing asked for nothing
        with socket.create_connection(("127.0.0.1", server.http_port)) as raw:
            raw.sendall(sent.encode())
            while raw.recv(4096):
                pass
        wait_for(log.read_text)
        time.sleep(0.4)
    (line,) = lines(log)
    assert list(line) == FIELDS
    assert (line["status"], line["outcome"], line["protocol"]) == (status, outcome, "http")
    assert (line["address"], line["model"], line["client"]) == ("127.0.0.1", "", "")
    assert SMITH not in log.read_text()


def test_a_connection_beyond_the_limit_and_an_unknown_method_have_a_line(
    toy_graphs: dict[str, Path], start: Callable[..., Server], log: Path
) -> None:
    server = start([OnnxBackend(toy_graphs["segment"], device="cpu")], audit_log=log, max_connections=1)
    head = "POST /v2/models/toy-segment/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{"
    address = f"http://127.0.0.1:{server.http_port}"
    with socket.create_connection(("127.0.0.1", server.http_port)) as raw:
        raw.sendall(head.encode())
        wait_for(lambda: server.repository.active_requests)
        assert httpx.get(f"{address}/v2").status_code == 503
        assert httpx.get(f"{address}/v2/health/live").status_code == 200
        (line,) = wait_for(lambda: lines(log))
    assert (line["status"], line["outcome"], line["address"]) == (503, "full", "127.0.0.1")
    wait_for(lambda: len(lines(log)) == 2)  # the request that was cut off
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        for method in (f"/{SERVICE}/{SMITH}", "/grpc.health.v1.Health/Check", "/"):
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(method)(b"", timeout=20)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    found = lines(log)[2:]
    assert [(one["protocol"], one["status"], one["outcome"]) for one in found] == [
        ("grpc", "UNIMPLEMENTED", "unimplemented")
    ] * 3
    assert SMITH not in log.read_text()


def test_probes_have_no_line_and_a_lost_client_has_one(server: Server, web: httpx.Client, log: Path) -> None:
    for path in ("/", "/v2/health/live", "/v2/health/ready"):
        assert web.get(path).status_code == 200
    assert log.read_text() == ""
    head = "POST /v2/models/toy-segment/infer HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer one\r\n"
    with socket.create_connection(("127.0.0.1", server.http_port)) as raw:
        raw.sendall(f"{head}Content-Length: 1000\r\n\r\nbegun".encode())
    for _ in range(1000):
        if log.read_text():
            break
        web.get("/v2/health/live")
    (line,) = lines(log)
    assert (line["status"], line["outcome"], line["input_bytes"]) == (499, "cancelled", 5)
    assert line["input_sha256"] == hashlib.sha256(b"begun").hexdigest()


def test_a_request_s_own_id_is_kept_if_it_is_a_uuid(web: httpx.Client) -> None:
    given = "6f2a8c1e-1f0b-4c55-9a4e-3c1d2b7a9f10"
    assert web.get("/v2", headers={"X-Request-Id": given}).headers["x-request-id"] == given
    for other in (SMITH, "1", given + "0", f"{given} {SMITH}"):
        assert web.get("/v2", headers={"X-Request-Id": other}).headers["x-request-id"] != other


def write(audit: AuditLog, protocol: str = "http") -> None:
    asyncio.run(audit.write(RequestRecord(protocol)))


@pytest.mark.parametrize("fsync", [False, True])
def test_a_rotated_log_goes_on_in_a_new_file(log: Path, fsync: bool) -> None:
    audit = AuditLog(log, fsync=fsync)
    write(audit, "first")
    log.rename(log.with_suffix(".1"))  # logrotate's "create" and "nocreate"
    write(audit, "second")
    log.rename(log.with_suffix(".2"))
    log.write_text("")
    write(audit, "third")
    log.unlink()
    write(audit, "fourth")
    os.truncate(log, 0)  # "copytruncate"
    write(audit, "fifth")
    audit.close()
    assert [one["protocol"] for one in lines(log.with_suffix(".1"))] == ["first"]
    assert [one["protocol"] for one in lines(log.with_suffix(".2"))] == ["second"]
    assert [one["protocol"] for one in lines(log)] == ["fifth"]


def test_an_old_log_is_continued_and_its_torn_line_left(log: Path) -> None:
    log.write_text('{"whole": 1}\n{"torn')
    audit = AuditLog(log)
    write(audit, "new")
    write(audit, "newer")
    audit.close()
    first, torn, *rest = log.read_text().splitlines()
    assert (first, torn) == ('{"whole": 1}', '{"torn')
    assert [json.loads(line)["protocol"] for line in rest] == ["new", "newer"]


def test_a_log_that_cannot_be_opened_is_refused_at_the_start(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none" / "audit.log", tmp_path / ("x" * 300)):
        with pytest.raises(UserError, match="cannot write the audit log"):
            AuditLog(path)


def test_nothing_is_served_while_the_disk_is_full(
    server: Server, web: httpx.Client, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, room = os.write, [10]

    def full(file: int, raw: bytes) -> int:
        if not raw.lstrip().startswith(b'{"time"'):
            return real(file, raw)
        if room:  # the last bytes that there is room for
            return real(file, raw[: room.pop()])
        raise OSError(28, "No space left on device")

    infer = "/v2/models/toy-segment/infer"
    with monkeypatch.context() as patch:
        patch.setattr("medzoo.serve.audit.os.write", full)
        for _ in range(3):
            refused = web.post(infer, json=question())
            assert refused.status_code == 503
            assert refused.json() == {"error": "cannot write the audit log; try again later"}
        assert infer_grpc(server, "one")[1] == "UNAVAILABLE"
        assert web.get("/v2/health/live").status_code == 200
    assert web.post(infer, json=question()).status_code == 200
    torn, whole = log.read_text().splitlines()
    assert torn == '{"time": "'
    assert json.loads(whole)["status"] == 200


def test_a_real_full_disk_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    audit = AuditLog(Path("/dev/full"))
    for _ in range(2):
        with pytest.raises(InferenceError, match="cannot write the audit log"):
            write(audit)


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:127.0.0.1:5000", "127.0.0.1"),
        ("ipv6:%5B::1%5D:5000", "::1"),
        ("ipv6:[fe80::1]:9", "fe80::1"),
        ("unix:", "unix"),
    ],
)
def test_an_address_of_a_grpc_peer(peer: str, address: str) -> None:
    assert grpc_address(peer) == address
