"""Run `medzoo serve` in a process of its own on this machine, for benchmarks and tests."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medzoo.errors import UserError
from medzoo.runtime.backends.remote import RemoteBackend
from medzoo.serve.sockets import free_port

_START = 120.0  # seconds


@dataclass(frozen=True)
class LocalServer:
    """Addresses of the model over HTTP and gRPC, and the server's process."""

    http: str
    grpc: str
    process: subprocess.Popen[bytes]


@contextmanager
def local_server(model: Path, name: str, *options: str) -> Iterator[LocalServer]:
    """Serve the model `name` of a folder or an .onnx file on free ports while the block runs. Raises UserError."""
    ports = free_port("127.0.0.1"), free_port("127.0.0.1")
    command = [sys.executable, "-m", "medzoo", "serve", str(model), *options]
    command += ["--http-port", str(ports[0]), "--grpc-port", str(ports[1])]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found = LocalServer(f"http://127.0.0.1:{ports[0]}/{name}", f"grpc://127.0.0.1:{ports[1]}/{name}", process)
    try:
        end = time.monotonic() + _START
        while True:
            try:
                RemoteBackend(found.http, timeout=10)
                break
            except UserError as error:
                if process.poll() is not None or time.monotonic() > end:
                    raise UserError("the server failed to start", where=str(model)) from error
                time.sleep(0.05)
        yield found
    finally:
        process.terminate()
        process.wait()
