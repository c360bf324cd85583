"""More clients than the server can serve: each request gets the right response or a refusal."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.serve.local_server import local_server
from medzoo.serve.server import Server
from tests.unit.serve.load import overloaded


class Steady(OnnxBackend):
    """Takes 5 ms longer a run than the graph does."""

    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        time.sleep(0.005)
        return super().run(inputs, outputs)


def resident(process: int | str = "self") -> int:
    """Bytes of a process that are in memory."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096


def load(port: int, *, clients: int, seconds: float) -> Counter[str]:
    """Every client sends without a pause; responses by kind, and "sent"."""
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


def test_under_more_than_twice_the_load_nothing_is_lost_or_wrong(
    toy_graphs: dict[str, Path], start: Callable[..., Server]
) -> None:
    backend = Steady(toy_graphs["segment"], device="cpu", threads=1)
    # 4 rows in 5 ms, of 32 clients that ask at once: most of them find the queue full.
    server = start([backend], max_batch_size=4, max_queue=8)
    load(server.http_port, clients=32, seconds=0.5)
    before = resident()
    counts = load(server.http_port, clients=32, seconds=2)
    assert set(counts) <= {"sent", "right", "refused"}, counts
    assert counts["right"] + counts["refused"] == counts["sent"]
    assert counts["right"] > 0
    assert counts["refused"] > 0
    assert server.repository.active_requests == server.repository.reserved_bytes == 0
    assert len(server.repository.models["toy-segment"].batcher) == 0
    assert resident() - before < 64 << 20


@pytest.mark.long
def test_a_minute_at_twice_the_capacity_of_a_released_model() -> None:
    """Every request gets a response or a refusal, none is lost or wrong; the admitted wait no longer than a full queue
    and thrice what one client alone waits; memory comes back to where it was."""
    graph = Path(__file__).resolve().parents[3] / "zoo" / "breast-lesion-rcnn" / "model.onnx"
    image = np.random.default_rng(0).uniform(0, 255, (1, 1, 128, 160)).astype(np.float32)
    expected = OnnxBackend(graph, device="cpu").run({"image": image})
    options = ("--device", "cpu", "--max-queue", "8", "--max-batch", "1", "--no-supervise")
    with local_server(graph, "breast-lesion-rcnn", *options) as server:
        overloaded(server.http, image, expected, span=5, queue=8)
        before = resident(server.process.pid)
        alone, crowd, _, allowed = overloaded(server.http, image, expected, span=60, queue=8)
        after = resident(server.process.pid)
    assert set(crowd.counts) <= {"sent", "right", "refused"}, crowd.counts
    assert crowd.counts["right"] + crowd.counts["refused"] == crowd.counts["sent"]
    assert crowd.counts["refused"] > 0
    assert crowd.p99 <= allowed, (crowd.p99, alone.p99, allowed)
    assert after - before < 64 << 20
