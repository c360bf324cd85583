"""More clients than the server can answer: each request gets an answer, the right one, or a refusal."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from medzoo.runtime.onnx_backend import OnnxBackend
from medzoo.serve.server import Server


class Steady(OnnxBackend):
    """Takes 5 ms longer a run than the graph does."""

    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        time.sleep(0.005)
        return super().run(inputs, outputs)


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def load(port: int, *, clients: int, seconds: float) -> Counter[str]:
    """Every client asks without a pause; what came back, counted, and "sent"."""
    counts: Counter[str] = Counter()
    lock = threading.Lock()
    end = time.monotonic() + seconds

    def ask(client: int) -> None:
        own: Counter[str] = Counter()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        number = client
        while time.monotonic() < end:
            number += clients
            bright = number % 7
            data = [200.0] * bright + [0.0] * (16 - bright)
            tensor = {"name": "image", "datatype": "FP32", "shape": [1, 1, 4, 4], "data": data}
            own["sent"] += 1
            connection.request(
                "POST",
                "/v2/models/toy-segment/infer",
                json.dumps({"inputs": [tensor], "outputs": [{"name": "labels"}], "id": str(number)}),
            )
            response = connection.getresponse()
            answer = json.loads(response.read())
            if response.status == 429:
                own["refused"] += 1
                # As a client should: not at once again.
                time.sleep(0.002)
            elif response.status == 200 and answer["id"] == str(number):
                right = answer["outputs"][0]["data"] == [1] * bright + [0] * (16 - bright)
                own["right" if right else "wrong"] += 1
            else:
                own[f"status {response.status}"] += 1
        connection.close()
        with lock:
            counts.update(own)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return counts


@pytest.mark.parametrize("seconds", [2, pytest.param(60, marks=pytest.mark.long)])
def test_under_twice_the_load_nothing_is_lost_or_wrong(
    toy_graphs: dict[str, Path], start: Callable[..., Server], seconds: float
) -> None:
    backend = Steady(toy_graphs["segment"], device="cpu", threads=1)
    # 4 rows in 5 ms, of 32 clients that ask at once: most of them find the queue full.
    server = start([backend], max_rows=4, max_queue=8)
    load(server.http_port, clients=32, seconds=0.5)
    before = resident()
    counts = load(server.http_port, clients=32, seconds=seconds)
    assert set(counts) <= {"sent", "right", "refused"}, counts
    assert counts["right"] + counts["refused"] == counts["sent"]
    assert counts["right"] > 0
    assert counts["refused"] > 0
    assert server.hub.open == server.hub.held == 0
    assert len(server.hub.models["toy-segment"].batcher) == 0
    assert resident() - before < 64 << 20
