"""The server as a process: it drains on SIGTERM, comes back after kill -9, and speaks TLS."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import medzoo
from medzoo.errors import UserError
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.serve.server import Server
from tests.unit.serve.test_serve_http import Slow, question


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v2/health/ready", timeout=1).status_code == 200
    except httpx.TransportError:
        return False


def wait_for(condition: Callable[[], Any], *, seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("did not come about")


@pytest.fixture
def process(toy_graphs: dict[str, Path], tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int, Path]]:
    """`medzoo serve` as it is typed, its HTTP port, and its log."""
    port, log = free_port(), tmp_path / "log"
    arguments = ["serve", str(toy_graphs["segment"]), "--http-port", str(port), "--grpc-port", "0", "--device", "cpu"]
    with log.open("wb") as stream:
        started = subprocess.Popen([sys.executable, "-m", "medzoo", *arguments], stderr=stream)
        try:
            wait_for(lambda: answers(port))
            yield started, port, log
        finally:
            started.terminate()
            started.wait(30)


def worker(parent: int) -> int | None:
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == parent and fields[0] != "Z":
            return int(entry.parent.name)
    return None


def test_a_killed_worker_comes_back_and_sigterm_ends_both(
    process: tuple[subprocess.Popen[bytes], int, Path],
) -> None:
    supervisor, port, log = process
    address = f"http://127.0.0.1:{port}/v2/models/toy-segment/infer"
    # More often than workers may die that never served; asked at once each time, while nobody is there to answer.
    for times in range(1, 5):
        wait_for(lambda times=times: log.read_text().count('"event": "ready"') == times)
        first = worker(supervisor.pid)
        assert first is not None
        os.kill(first, signal.SIGKILL)
        wait_for(lambda first=first: worker(supervisor.pid) != first)
        answer = httpx.post(address, json=question(200.0), timeout=60).json()
        assert answer["outputs"][0]["data"] == [1] * 64
    wait_for(lambda: log.read_text().count('"event": "ready"') == 5)
    second = worker(supervisor.pid)
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(30) == 0
    assert not Path(f"/proc/{second}").exists()
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert [line["event"] for line in lines if line["event"] != "request"] == [
        "ready",
        *["worker died", "ready"] * 4,
        "stopping",
        "stopped",
    ]


def test_workers_that_never_serve_end_the_server(tmp_path: Path) -> None:
    """A worker that dies on its own graph three times in a row is not started a fourth time."""
    script = tmp_path / "worker.py"
    script.write_text("import pathlib, sys\npathlib.Path(sys.argv[1]).open('a').write('x')\nsys.exit(7)\n")
    started = tmp_path / "started"
    code = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from medzoo.serve.supervisor import supervise; "
            "sys.exit(supervise([sys.executable, *sys.argv[1:]], environment={}))",
            str(script),
            str(started),
        ],
        timeout=60,
    ).returncode
    assert code == 1
    assert started.read_text() == "xxx"


def test_a_worker_does_not_outlive_its_supervisor(process: tuple[subprocess.Popen[bytes], int, Path]) -> None:
    supervisor, port, _ = process
    child = worker(supervisor.pid)
    supervisor.kill()
    supervisor.wait(10)
    wait_for(lambda: not answers(port) and not Path(f"/proc/{child}").exists())


def test_draining_serves_active_requests_and_refuses_the_rest(
    toy_graphs: dict[str, Path], start: Callable[..., Server]
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    backend = Slow(toy_graphs["segment"])
    server = start([backend])
    address = f"http://127.0.0.1:{server.http_port}"
    with ThreadPoolExecutor(1) as pool, httpx.Client(base_url=address) as kept:
        first = pool.submit(httpx.post, f"{address}/v2/models/toy-segment/infer", json=question(), timeout=30)
        wait_for(lambda: backend.runs)
        server.stop()
        wait_for(lambda: kept.get("/v2/health/ready").status_code == 400)
        assert kept.get("/v2/health/live").status_code == 200
        assert kept.post("/v2/models/toy-segment/infer", json=question()).status_code == 503
        backend.go.set()
        assert first.result(20).status_code == 200


def test_tls_on_both_ports(toy_graphs: dict[str, Path], start: Callable[..., Server], tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    server = start([OnnxBackend(toy_graphs["segment"], device="cpu")], certificate=certificate, key=key, token="t")
    image = np.zeros((4, 5), np.float32)
    image[1, 2] = 200
    with pytest.MonkeyPatch.context() as patch:
        with pytest.raises(UserError, match="cannot connect to the server"):
            medzoo.load(f"https://127.0.0.1:{server.http_port}/toy-segment")
        patch.setenv("MEDZOO_CA", str(certificate))
        with pytest.raises(UserError, match="bearer token"):
            medzoo.load(f"https://127.0.0.1:{server.http_port}/toy-segment")
        patch.setenv("MEDZOO_TOKEN", "t")
        for url in (f"https://127.0.0.1:{server.http_port}", f"grpcs://127.0.0.1:{server.grpc_port}"):
            assert np.array_equal(medzoo.load(f"{url}/toy-segment").predict(image).mask, image > 100)


def test_a_port_that_is_taken_is_one_line(toy_graphs: dict[str, Path]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "medzoo", "serve", str(toy_graphs["segment"]), "--http-port", str(port)],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 2
    assert re.fullmatch(rf"error: 127\.0\.0\.1:{port}: cannot open the HTTP port: .*\n", done.stderr)


def test_a_token_on_disk_is_read_where_it_is_kept_from_others(tmp_path: Path) -> None:
    from medzoo.commands.serve import read_token

    path = tmp_path / "token"
    path.write_text("secret\n")
    path.chmod(0o600)
    assert read_token(path) == "secret"
    path.chmod(0o644)
    with pytest.raises(UserError, match="every user of this machine"):
        read_token(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_token(tmp_path / "none")
