"""gRPC connections are bounded by number, in total and per client; those in use are the last to go."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medzoo
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.serve.grpc_connections import Connection, choose_surplus
from medzoo.serve.request_record import grpc_peer
from medzoo.serve.server import Server
from tests.unit.serve.test_serve_process import wait_for

needs_descriptors = pytest.mark.skipif(sys.platform == "win32", reason="has no folder of descriptors")


def still_open(connection: socket.socket) -> bool:
    """True if the other side has not ended it; what it has sent is read."""
    connection.setblocking(False)
    try:
        while raw := connection.recv(4096):
            del raw
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@needs_descriptors
@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"max_client_connections": 4}, 4),
        ({"max_connections": 5}, 5),
        ({"max_connections": 6, "max_client_connections": 3}, 3),
    ],
)
@pytest.mark.parametrize("head", [b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"], ids=["silent", "HTTP/2"])
def test_idle_connections_beyond_the_limit_are_closed(
    toy_graphs: dict[str, Path], start: Callable[..., Server], options: dict[str, int], kept: int, head: bytes
) -> None:
    server = start([OnnxBackend(toy_graphs["segment"], device="cpu", threads=1)], **options)
    with ExitStack() as stack:
        idle = []
        for _ in range(20):
            idle.append(stack.enter_context(socket.create_connection(("127.0.0.1", server.grpc_port))))  # type: ignore[arg-type]
            idle[-1].sendall(head)
        wait_for(lambda: sum(map(still_open, idle)) <= kept)
        # The next client is answered.
        predictor = medzoo.load(f"grpc://127.0.0.1:{server.grpc_port}/toy-segment")
        assert not predictor.predict(np.zeros((4, 5), np.uint8)).mask.any()
        wait_for(lambda: sum(map(still_open, idle)) < kept)


def connection(number: int, address: str = "10.0.0.1") -> Connection:
    return Connection(number, number, address, number, float(number))


@pytest.mark.parametrize(
    ("addresses", "active", "most", "most_of_client", "chosen"),
    [
        ("aaaa", (), 9, 9, []),
        ("aaaa", (), 2, 9, [0, 1]),
        ("aaaa", (0, 1), 2, 9, [2, 3]),  # those with a call stay
        ("aaaa", (0, 1, 2, 3), 3, 9, [3]),  # of them the newest goes
        ("aabaa", (), 9, 2, [0, 1]),
        ("baaaa", (), 3, 2, [1, 2]),  # the one of few stays, although it has been idle for longest
        ("bcaaa", (), 2, 1, [2, 3, 0]),
    ],
)
def test_which_connections_go(
    addresses: str, active: tuple[int, ...], most: int, most_of_client: int, chosen: list[int]
) -> None:
    connections = [connection(number, address) for number, address in enumerate(addresses)]
    peers: Any = {(addresses[number], number) for number in active}
    found = choose_surplus(connections, peers, most=most, most_of_client=most_of_client)
    assert [one.descriptor for one in found] == chosen


@pytest.mark.parametrize(
    ("text", "peer"),
    [
        ("ipv4:127.0.0.1:5000", ("127.0.0.1", 5000)),
        ("ipv6:%5B::1%5D:5000", ("::1", 5000)),
        ("unix:/tmp/x:1", None),
        ("", None),
    ],
)
def test_a_peer_has_an_address_and_a_port(text: str, peer: tuple[str, int] | None) -> None:
    assert grpc_peer(text) == peer
