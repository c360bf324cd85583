"""A server that receives damaged files and malformed requests serves others correctly, in bounded memory."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from medzoo.io.limits import SERVER, limited
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.predictor import Predictor
from medzoo.serve.local_server import LocalServer, local_server
from tests.unit.serve.hostile import damaged, good_files, malformed
from tests.unit.serve.load import overloaded
from tests.unit.serve.test_serve_http import png
from tests.unit.serve.test_serve_overload import resident
from tests.unit.serve.test_serve_process import worker

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
GROWTH = 1500 << 20  # bytes that the worker may take above what it needs idle


class Watch:
    """A well-behaved client that keeps sending, and the largest size of the worker meanwhile."""

    def __init__(self, server: LocalServer) -> None:
        self.address = server.http.rpartition("/")[0]
        found = worker(server.process.pid)
        assert found is not None
        self.worker, self.idle, self.largest = found, resident(found), 0
        self.counts: Counter[str] = Counter()
        self.slowest = 0.0
        self._server, self._stop = server, threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._ask, self._probe)]

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        """Pictures of which each has its own known result."""
        with httpx.Client(timeout=70) as client:
            number = 0
            while not self._stop.wait(0.02):
                number += 1
                picture = np.zeros((30, 40), np.uint8)
                picture[: number % 29 + 1, :7] = 200
                answer = client.post(f"{self.address}/predict/toy-segment?name=a.png", content=png(picture))
                if answer.status_code == 429:
                    self.counts["refused"] += 1
                    continue
                right = answer.status_code == 200 and answer.json()[0]["areas_px"] == {"bright": 7 * (number % 29 + 1)}
                self.counts["right" if right else f"wrong: {answer.status_code} {answer.text[:200]}"] += 1

    def _probe(self) -> None:
        with httpx.Client(timeout=60) as client:
            while not self._stop.wait(0.05):
                start = time.perf_counter()
                assert client.get(f"{self.address}/v2/health/live").status_code == 200
                self.slowest = max(self.slowest, time.perf_counter() - start)
                self.largest = max(self.largest, resident(self.worker))

    def check(self) -> None:
        """Nothing died, no response was wrong, memory stayed within its bound."""
        assert worker(self._server.process.pid) == self.worker
        assert set(self.counts) <= {"right", "refused"}, self.counts
        assert self.counts["right"]
        assert self.largest - self.idle < GROWTH


def send(address: str, request: bytes) -> int:
    """The status that a request gets; 0 where the server closes without one."""
    host, _, port = address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        try:
            connection.sendall(request)
            head = connection.recv(4096)
        except ConnectionError:
            return 0
    return int(head.split()[1]) if head.startswith(b"HTTP/1.1 ") else 0


def without_seconds(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key not in ("seconds", "mask", "input")}


@pytest.mark.parametrize(
    ("files", "requests"), [(24, 36), pytest.param(200, 300, marks=pytest.mark.long)], ids=["some", "many"]
)
def test_damaged_files_and_malformed_requests(
    toy_graphs: dict[str, Path], tmp_path: Path, files: int, requests: int
) -> None:
    """A damaged file gets 4xx, or the result of `predict` for the same bytes; a malformed request 4xx, or its
    answer."""
    predictor = Predictor(OnnxBackend(toy_graphs["segment"], device="cpu", threads=1))
    sent = good_files(tmp_path)
    outcomes: Counter[str] = Counter()
    with local_server(toy_graphs["segment"], "toy-segment", "--device", "cpu") as server, Watch(server) as watch:
        for request in malformed(requests, "toy-segment"):
            status = send(watch.address, request)
            outcomes[f"request {status}"] += 1
            assert status < 500, request[:300]
        for name, raw in [*sent.items(), *damaged(sent, files)]:
            answer = httpx.post(f"{watch.address}/predict/toy-segment?name={name}", content=raw, timeout=70)
            outcomes[f"file {answer.status_code}"] += 1
            assert answer.status_code in (200, 400, 413), (name, answer.text[:300])
            if answer.status_code == 200:
                path = tmp_path / f"sent{''.join(Path(name).suffixes)}"
                path.write_bytes(raw)
                with limited(SERVER):
                    expected = predictor.predict(path).to_dict()
                assert without_seconds(answer.json()[0]) == without_seconds(expected), name
            else:
                assert name in answer.text or "send an image file" in answer.text
        watch.check()
    print(dict(outcomes), dict(watch.counts), f"slowest probe {watch.slowest:.2f} s",
          f"worker {watch.idle >> 20} MB idle, {watch.largest >> 20} MB at most")  # fmt: skip
    assert outcomes["file 400"]


@pytest.mark.long
def test_a_minute_of_twice_the_load_while_others_misbehave(toy_graphs: dict[str, Path], tmp_path: Path) -> None:
    """32 clients at twice what can be sustained, and one that sends hostile files: every response of 200 is right."""
    graph = Path(__file__).resolve().parents[3] / "zoo" / "breast-lesion-rcnn" / "model.onnx"
    image = np.random.default_rng(0).uniform(0, 255, (1, 1, 128, 160)).astype(np.float32)
    expected = OnnxBackend(graph, device="cpu").run({"image": image})
    sent = good_files(tmp_path)
    stop = threading.Event()
    statuses: Counter[int] = Counter()
    with local_server(graph, "breast-lesion-rcnn", "--device", "cpu", "--max-queue", "8", "--max-batch", "1") as server:
        address = server.http.rpartition("/")[0]
        found = worker(server.process.pid)
        assert found is not None
        overloaded(server.http, image, expected, span=5, queue=8)
        before = resident(found)

        def misbehave() -> None:
            for name, raw in damaged(sent, 10_000, seed=3):
                if stop.wait(0.2):
                    return
                answer = httpx.post(f"{address}/predict/breast-lesion-rcnn?name={name}", content=raw, timeout=70)
                statuses[answer.status_code] += 1

        thread = threading.Thread(target=misbehave)
        thread.start()
        alone, crowd, capacity, _ = overloaded(server.http, image, expected, span=60, queue=8)
        stop.set()
        thread.join()
        assert worker(server.process.pid) == found
        after = resident(found)
    print(dict(crowd.counts), f"{capacity:.1f} a second, p99 {crowd.p99:.3f} s (alone {alone.p99:.3f})", dict(statuses),
          f"worker {before >> 20} -> {after >> 20} MB")  # fmt: skip
    assert set(crowd.counts) <= {"sent", "right", "refused"}, crowd.counts
    assert crowd.counts["right"] + crowd.counts["refused"] == crowd.counts["sent"]
    assert crowd.counts["refused"] > 0
    assert all(status < 500 or status == 504 for status in statuses), statuses
    assert after - before < GROWTH
