"""One client costs the others nothing: connections, headers, bodies, JSON and messages are bounded."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.protocol import open_inference_pb2 as pb
from medzoo.runtime.protocol.messages import REQUEST, SERVICE, join, split
from medzoo.runtime.protocol.tensors import HEADER_LENGTH, build_request
from medzoo.serve.server import Server
from tests.unit.serve.test_serve_http import png, question

Start = Callable[..., Server]


@pytest.fixture(scope="module")
def backend(toy_graphs: dict[str, Path]) -> OnnxBackend:
    return OnnxBackend(toy_graphs["segment"], device="cpu", threads=1)


@contextmanager
def raw(server: Server, *parts: bytes) -> Iterator[socket.socket]:
    """A connection on which `parts` were sent as they are."""
    with socket.create_connection(("127.0.0.1", server.http_port), timeout=20) as connection:
        for part in parts:
            connection.sendall(part)
        yield connection


def wait_for(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < end, "did not come about"
        time.sleep(0.01)
    return found


def answered(connection: socket.socket) -> bytes:
    """Everything that comes until the server closes; b"" too where it resets the connection."""
    found = b""
    try:
        while part := connection.recv(65536):
            found += part
    except ConnectionResetError:
        pass
    return found


def live(server: Server) -> bool:
    return httpx.get(f"http://127.0.0.1:{server.http_port}/v2/health/live", timeout=20).status_code == 200


def infers(server: Server) -> bool:
    answer = httpx.post(f"http://127.0.0.1:{server.http_port}/v2/models/toy-segment/infer", json=question(200.0))
    return answer.status_code == 200 and answer.json()["outputs"][0]["data"] == [1] * 64


HEAD = b"GET /v2/health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n"
POST = b"POST /v2/models/toy-segment/infer HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 200_000,  # one endless address
        HEAD + b"X: " + b"a" * 200_000,  # one endless value
        HEAD + b"X" * 200_000,  # one endless name
        HEAD + b"".join(b"X-%d: a\r\n" % n for n in range(20_000)),  # very many
    ],
    ids=["address", "value", "name", "many"],
)
@pytest.mark.parametrize("whole", [False, True])
def test_a_header_is_bounded_in_bytes(start: Start, backend: OnnxBackend, head: bytes, whole: bool) -> None:
    server = start([backend], max_header=64 << 10, grpc_port=None)
    end = b" HTTP/1.1\r\nHost: x\r\n\r\n" if head.startswith(b"GET /a") else b": b\r\n\r\n"
    with raw(server) as connection:
        with suppress(ConnectionError):
            connection.sendall(head + (end if whole else b""))
        assert answered(connection)[:12] in (b"HTTP/1.1 431", b"HTTP/1.1 400", b"")
    assert live(server)


def test_what_comes_around_a_body_is_bounded_too(start: Start, backend: OnnxBackend) -> None:
    server = start([backend], max_header=16 << 10, grpc_port=None)
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    for endless in (
        b"1;" + b"a" * 600_000,  # a chunk's extension
        b"1\r\nx\r\n0\r\nX: " + b"a" * 600_000,  # what follows the last chunk
        b"1\r\nx\r\n0\r\n" + b"X: a\r\n" * 100_000,
    ):
        with raw(server) as connection:
            try:
                for at in range(0, len(endless), 4096):
                    connection.sendall(chunked + endless[:4096] if not at else endless[at : at + 4096])
            except ConnectionError:
                continue
            assert not answered(connection).startswith(b"HTTP/1.1 200")
    # A body in single bytes is still one.
    body = json.dumps(question(200.0)).encode()
    small = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    with raw(server, chunked + small) as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


def test_a_header_must_come_in_time(start: Start, backend: OnnxBackend) -> None:
    server = start([backend], header_timeout=0.4, grpc_port=None)
    whole = HEAD + b"\r\n"
    for parts in ([], [b"GET /v2/he"], [HEAD + b"X: a"], [b"\r\n"], [whole, HEAD]):
        with raw(server, *parts) as connection:
            said = answered(connection)  # ends, because the server closes
            assert said.count(b"HTTP/1.1 200") == sum(whole in part for part in parts)
    stop = threading.Event()
    with raw(server, HEAD) as slow:

        def drip() -> None:
            while not stop.wait(0.05):
                try:
                    slow.sendall(b"X: a\r\n")
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        assert answered(slow)[:12] in (b"HTTP/1.1 408", b"")
        stop.set()
        thread.join()
    assert live(server)


def test_connections_that_ask_for_nothing_make_way(start: Start, backend: OnnxBackend) -> None:
    server = start([backend], max_connections=20, max_client_connections=10, header_timeout=60.0, grpc_port=None)
    for half in (b"", b"GET /v2/health/live HT", HEAD + b"\r\n"):
        with ExitStack() as stack:
            held = [stack.enter_context(raw(server, half)) for _ in range(60)]
            assert live(server)
            assert infers(server)
            closed = 0
            for connection in held:
                connection.settimeout(1)
                try:
                    while connection.recv(65536):
                        pass
                    closed += 1
                except ConnectionResetError:
                    closed += 1
                except TimeoutError:
                    pass
                if closed >= 50:
                    break
            assert closed >= 50


def test_health_probes_are_answered_at_the_connection_limit(start: Start, backend: OnnxBackend) -> None:
    server = start([backend], max_connections=8, grpc_port=None)
    begun = POST + b"Content-Length: 1000\r\n\r\n{"
    with ExitStack() as stack:
        held = [stack.enter_context(raw(server, begun)) for _ in range(8)]
        wait_for(lambda: server.repository.active_requests == 8)
        assert live(server)
        address = f"http://127.0.0.1:{server.http_port}"
        refused = httpx.get(f"{address}/v2")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert "too many connections" in refused.json()["error"]
        for connection in held:
            connection.close()
    wait_for(lambda: not server.repository.active_requests)
    assert infers(server)


def test_bytes_count_as_they_come_not_as_they_are_announced(start: Start, backend: OnnxBackend) -> None:
    server = start([backend], max_body=8 << 20, max_inflight_bytes=32 << 20, grpc_port=None)
    announced = b"Content-Length: %d\r\n\r\n" % (8 << 20)
    chunked = b"Transfer-Encoding: chunked\r\n\r\n"
    for head in (
        POST + announced,
        POST + chunked,
        POST.replace(b"/v2/models/toy-segment/infer", b"/predict/toy-segment") + announced,
    ):
        with ExitStack() as stack:
            for _ in range(12):
                stack.enter_context(raw(server, head, b"1\r\n{\r\n" if head.endswith(chunked) else b"{"))
            wait_for(lambda: server.repository.active_requests == 12)
            wait_for(lambda: server.repository.reserved_bytes == 12)
            assert infers(server)
        wait_for(lambda: not server.repository.active_requests)
    assert server.repository.reserved_bytes == 0
    # Bytes that did come fill what is held, but a small request still finds its place.
    piece = b"x" * (7 << 20)
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(raw(server, POST + announced, piece))
        wait_for(lambda: server.repository.reserved_bytes == 4 * len(piece))
        with raw(server, POST + announced, piece) as fifth:
            assert fifth.recv(100).startswith(b"HTTP/1.1 429")
        assert infers(server)
        picture = png(np.full((8, 8), 200, np.uint8))
        address = f"http://127.0.0.1:{server.http_port}/predict/toy-segment"
        assert httpx.post(address, content=picture, timeout=60).json()[0]["areas_px"] == {"bright": 64}
    wait_for(lambda: not server.repository.reserved_bytes)


def test_a_body_that_stops_coming_is_given_up(
    start: Start, backend: OnnxBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medzoo.serve.request_body._STALL", 0.3)
    server = start([backend], grpc_port=None)
    for sent in (b"", b"{", b" " * 300_000):
        with raw(server, POST + b"Content-Length: 1000000\r\n\r\n", sent) as connection:
            assert connection.recv(100).startswith(b"HTTP/1.1 504")
    assert server.repository.reserved_bytes == server.repository.active_requests == 0


def test_packed_bodies_are_unpacked_as_far_as_they_are_held(start: Start, backend: OnnxBackend) -> None:
    server = start([backend], max_body=8 << 20, max_inflight_bytes=16 << 20, grpc_port=None)
    address = f"http://127.0.0.1:{server.http_port}/v2/models/toy-segment/infer"
    packed = gzip.compress(json.dumps(question(200.0)).encode())
    headers = {"Content-Encoding": "gzip"}
    assert httpx.post(address, content=packed, headers=headers).status_code == 200
    for body, status, words in (
        (gzip.compress(bytes(9 << 20)), 413, "the decompressed body is larger"),
        (packed[:-9], 400, "complete gzip stream"),
        (packed + packed, 400, "complete gzip stream"),
        (packed + b"more", 400, "complete gzip stream"),
    ):
        refused = httpx.post(address, content=body, headers=headers)
        assert (refused.status_code, words in refused.json()["error"]) == (status, True)
    assert server.repository.reserved_bytes == 0


class Call:
    """A gRPC call whose message is sent by hand: `size` bytes are announced, some of them come, and no more."""

    def __init__(self, port: int, method: str, size: int, sent: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        names = {
            ":path": f"/{SERVICE}/{method}",
            ":authority": "x",
            "content-type": "application/grpc",
            "te": "trailers",
        }
        head = b"\x83\x86" + b"".join(
            b"\0" + bytes([len(k)]) + k.encode() + bytes([len(v)]) + v.encode() for k, v in names.items()
        )
        message = b"\0" + struct.pack(">I", size) + b"x" * sent
        frames = self.frame(4, 0, 0, b"") + self.frame(1, 4, 1, head) + self.frame(0, 0, 1, message)
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frames)

    @staticmethod
    def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload

    def ended(self) -> bytes:
        """The bytes received when the server ends the call."""
        found = b""
        while b"grpc-status" not in found and b"grpc-message" not in found:
            part = self.socket.recv(65536)
            if not part:
                break
            found += part
        return found


def call(server: Server, method: str, message: bytes) -> bytes:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        ask = channel.unary_unary(f"/{SERVICE}/{method}", request_serializer=None, response_deserializer=None)
        found: bytes = ask(message, timeout=20)
        return found


def asked() -> bytes:
    request = pb.ModelInferRequest(model_name="toy-segment")
    request.inputs.add(name="image", datatype="FP32", shape=[1, 1, 2, 2])
    return join(request.SerializeToString(), REQUEST, [np.full(4, 200, np.float32).tobytes()])


def test_calls_whose_messages_never_end_keep_nobody_out(
    start: Start, backend: OnnxBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medzoo.serve.grpc_receive._PATIENCE", 0.3)
    server = start([backend], max_queue=4, max_body=1 << 20, max_inflight_bytes=2 << 20)
    for method in ("ModelInfer", "ModelMetadata", "ServerLive"):
        with ExitStack() as stack:
            for _ in range(20):  # of which two may take long, and eight be on their way at all
                stalled = Call(server.grpc_port or 0, method, 1 << 20, 4000)
                stack.callback(stalled.socket.close)
            time.sleep(0.4)
            assert call(server, "ServerLive", b"")
            assert split(call(server, "ModelInfer", asked()), 6)[1]
    assert server.repository.reserved_bytes == 0


def test_a_message_must_come_in_time(start: Start, backend: OnnxBackend) -> None:
    server = start([backend], timeout=0.5)
    for size, sent in ((1000, 0), (1000, 999), (1 << 20, 4000)):
        stalled = Call(server.grpc_port or 0, "ModelInfer", size, sent)
        assert b"timed out receiving" in stalled.ended()
        stalled.socket.close()
    assert call(server, "ServerReady", b"")


def varint(number: int) -> bytes:
    found = b""
    while number > 127:
        found, number = found + bytes([number & 127 | 128]), number >> 7
    return found + bytes([number])


def field(number: int, raw: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def test_messages_that_would_grow_are_refused_by_what_they_hold(start: Start, backend: OnnxBackend) -> None:
    server = start([backend], max_json=4 << 20, max_body=16 << 20)
    image = field(1, b"image")
    for message, words in (
        (field(5, image + field(2, b"INT64") + field(5, field(3, b"\1" * (2 << 20)))), "send tensors as raw contents"),
        (field(1, b"toy-segment") * 200_000, "too many fields"),
        (b"\x08\x01" * 300_000, "too many fields"),
        (
            field(1, b"toy-segment") + field(5, image + field(2, b"INT64") + field(5, field(3, b"\1" * 900_000))),
            "numbers",
        ),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            call(server, "ModelInfer", message)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert words in refused.value.details()
    with pytest.raises(grpc.RpcError) as refused:
        call(server, "ModelMetadata", field(1, b"x" * 100_000))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    for message in (b"\xff" * 20, b"\x0a\xff"):
        with pytest.raises(grpc.RpcError) as refused:
            call(server, "ModelReady", message)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    # What typed contents may hold is read as before.
    values = np.arange(300 * 300, dtype=np.float32)
    request = pb.ModelInferRequest(model_name="toy-segment")
    tensor = request.inputs.add(name="image", datatype="FP32", shape=[1, 1, 300, 300])
    tensor.contents.fp32_contents.extend(values)
    request.outputs.add(name="labels")
    assert len(request.SerializeToString()) > 256 << 10
    (labels,) = split(call(server, "ModelInfer", request.SerializeToString()), 6)[1]
    assert np.array_equal(np.frombuffer(labels, np.uint8), values > 100)


def test_a_response_that_nobody_reads_is_given_up(start: Start, backend: OnnxBackend) -> None:
    server = start([backend], timeout=1.0, grpc_port=None)
    head, tails = build_request({"image": np.zeros((1, 1, 1500, 1500), np.float32)}, ["probabilities"])
    body = b"".join([head, *tails])
    more = f"Content-Length: {len(body)}\r\n{HEADER_LENGTH}: {len(head)}\r\n\r\n".encode()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.http_port))
        connection.sendall(POST + more + body)
        wait_for(lambda: server.repository.metrics.render().count(b'outcome="ok"'))
        wait_for(lambda: not server.repository.reserved_bytes)
    assert live(server)
