"""Overhead of the server over the bare graph call, beside KServe's Python server, under load, and after a kill -9.

Server and clients are processes of one machine and talk over loopback; each figure is taken in turns with
what it is compared with. KServe is measured where $KSERVE_PYTHON names the Python of an environment that holds
kserve and onnxruntime (not this one: it asks for other versions of what medzoo needs).
"""

from __future__ import annotations

import http.client
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import numpy as np

from benchmarks.record import record, summary
from medzoo.artifact.locate import find_model
from medzoo.errors import UserError
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.backends.remote import RemoteBackend
from medzoo.runtime.protocol import open_inference_pb2 as pb
from medzoo.runtime.protocol.messages import REQUEST, SERVICE, join
from medzoo.runtime.protocol.tensors import HEADER_LENGTH, build_request
from medzoo.serve.local_server import local_server
from medzoo.serve.sockets import free_port
from tests.unit.serve.graphs import write_graph
from tests.unit.serve.load import overloaded

KSERVE = "KSERVE_PYTHON"
ROUNDS = 200
SECONDS = 15.0  # of load
TURNS, TURN = 3, 2.0  # of each server in the comparison, and seconds of each turn
CLIENTS = 4


def picture() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (1, 1, 512, 512)).astype(np.float32)


def seconds(backend: OnnxBackend | RemoteBackend, image: np.ndarray) -> float:
    start = time.perf_counter()
    backend.run({"image": image}, ["labels"])
    return time.perf_counter() - start


def overhead(graph: Path) -> dict[str, object]:
    """Milliseconds that an answer takes longer from the server, over and over in turns with the bare call.

    "grpcio alone" is what that library takes for a message of that size and one back: no gRPC server is below it.
    """
    image = picture()
    bare = OnnxBackend(graph, device="cpu")
    found: dict[str, object] = {"asked_ms": 1.0}
    with local_server(graph, "toy-segment", "--device", "cpu") as server:
        for name, url in (("http", server.http), ("grpc", server.grpc)):
            backend = RemoteBackend(url)
            pairs = [(seconds(bare, image), seconds(backend, image)) for _ in range(ROUNDS + 20)][20:]
            extra = [1000 * (served - alone) for alone, served in pairs]
            found[name] = {
                "bare_ms": summary([1000 * alone for alone, _ in pairs]),
                "overhead_ms": summary(extra),
                "quartiles": [round(q, 3) for q in statistics.quantiles(extra, n=4)],
            }
    with echo(image.nbytes, image.size) as ask:
        found["grpcio alone"] = summary([1000 * ask() for _ in range(ROUNDS + 20)][20:])
    return found


@contextmanager
def echo(size: int, back: int) -> Iterator[Callable[[], float]]:
    """A call that sends `size` bytes to a gRPC server of another process, which sends `back` bytes; seconds of each."""
    port = free_port("127.0.0.1")
    code = f"""
import asyncio, grpc
async def main():
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    async def answer(request, context):
        return bytes({back})
    handler = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("echo", {{"ask": handler}}),))
    server.add_insecure_port("127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()
asyncio.run(main())
"""
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    try:
        with grpc.insecure_channel(
            f"127.0.0.1:{port}", options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        ) as channel:
            ask = channel.unary_unary("/echo/ask")
            body = bytes(size)
            ask(body, wait_for_ready=True, timeout=60)

            def once() -> float:
                start = time.perf_counter()
                ask(body)
                return time.perf_counter() - start

            yield once
    finally:
        process.terminate()
        process.wait()


@contextmanager
def kserve(python: str, graph: Path, name: str) -> Iterator[tuple[str, str]]:
    """The addresses of the same graph behind KServe's Python server, HTTP and gRPC."""
    port, grpc_port = free_port("127.0.0.1"), free_port("127.0.0.1")
    script = Path(__file__).with_name("kserve_model.py")
    command = [python, str(script), name, str(graph), str(port), str(grpc_port)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        for _ in range(600):
            if process.poll() is not None:
                raise UserError("KServe's server did not start", where=python)
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                connection.request("GET", f"/v2/models/{name}/ready")
                if connection.getresponse().status == 200:
                    break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/{name}", f"grpc://127.0.0.1:{grpc_port}/{name}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def rate(url: str, *, clients: int, span: float) -> float:
    """Answers a second that `clients` get, binary tensors both ways, without a pause."""
    make = by_http if url.startswith("http") else by_grpc
    end = time.perf_counter() + span

    def ask(_: int) -> int:
        once = make(url)
        answered = 0
        while time.perf_counter() < end:
            assert once() > 512 * 512
            answered += 1
        return answered

    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        total = sum(pool.map(ask, range(clients)))
    return total / (time.perf_counter() - start)


def by_http(url: str) -> Callable[[], int]:
    """Asks once; the bytes of the answer."""
    parts = urlsplit(url)
    head, tails = build_request({"image": picture()}, ["labels"])
    body = b"".join([head, *tails])
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)

    def once() -> int:
        connection.request("POST", f"/v2/models{parts.path}/infer", body, headers)
        response = connection.getresponse()
        raw = response.read()
        assert response.status == 200, raw[:300]
        return len(raw)

    return once


def by_grpc(url: str) -> Callable[[], int]:
    """Asks once; the bytes of the answer."""
    parts = urlsplit(url)
    image = picture()
    request = pb.ModelInferRequest(model_name=parts.path.strip("/"), id="1")
    request.inputs.add(name="image", datatype="FP32", shape=image.shape)
    request.outputs.add(name="labels")
    body = join(request.SerializeToString(), REQUEST, [image.tobytes()])
    unbounded = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    infer = grpc.insecure_channel(parts.netloc, options=unbounded).unary_unary(f"/{SERVICE}/ModelInfer")
    return lambda: len(infer(body, timeout=60))


def beside_kserve(graph: Path) -> dict[str, object]:
    """Requests a second of both servers in turns, over both protocols, with one client and with several."""
    python = os.environ.get(KSERVE)
    if not python or not Path(python).is_file():
        reason = f"{KSERVE} names no Python that holds kserve"
        print(f"KServe was not measured: {reason}", file=sys.stderr)
        return {"skipped": reason}
    found: dict[str, object] = {"asked": 2.0}
    with local_server(graph, "toy-segment", "--device", "cpu") as ours, kserve(python, graph, "toy-segment") as theirs:
        for protocol, mine, other in (("http", ours.http, theirs[0]), ("grpc", ours.grpc, theirs[1])):
            for clients in (1, CLIENTS):
                rates: dict[str, list[float]] = {"medzoo": [], "kserve": []}
                for turn in range(TURNS + 1):  # the first one warms up
                    for name, url in (("medzoo", mine), ("kserve", other)):
                        measured = rate(url, clients=clients, span=TURN if turn else 0.5)
                        rates[name] += [measured] if turn else []
                found[f"{protocol}, {clients} clients"] = {
                    **{f"{name} per second": summary(values) for name, values in rates.items()},
                    "medzoo / kserve": summary([a / b for a, b in zip(rates["medzoo"], rates["kserve"], strict=True)]),
                }
    return found


def overload(model: str) -> dict[str, object]:
    """The 99th percentile of the admitted under twice what the server can answer, and what it may be."""
    graph = find_model(model) / "model.onnx"
    backend = OnnxBackend(graph, device="cpu")
    image = np.random.default_rng(0).uniform(0, 255, (1, 1, 128, 160)).astype(np.float32)
    queue = 8
    options = ("--device", "cpu", "--max-queue", str(queue), "--max-batch", "1")
    with local_server(graph, backend.metadata.name, *options) as server:
        alone, crowd, capacity, allowed = overloaded(
            server.http, image, backend.run({"image": image}), span=SECONDS, queue=queue
        )
    return {
        "model": model,
        "capacity_per_second": round(capacity, 1),
        "alone_p99_ms": round(1000 * alone.p99, 2),
        "counts": dict(crowd.counts),
        "p99_ms": round(1000 * crowd.p99, 2),
        "allowed_p99_ms": round(1000 * allowed, 2),
    }


def recovery(model: str) -> dict[str, object]:
    """Seconds from a kill -9 of the worker to the answer of a request that was sent at once."""
    taken = []
    name = find_model(model).name
    with local_server(find_model(model), name, "--device", "cpu") as server:
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
        parts = urlsplit(server.http)
        for _ in range(5):
            worker = int(children.read_text().split()[0])
            os.kill(worker, signal.SIGKILL)
            start = time.perf_counter()
            while children.read_text().split()[:1] == [str(worker)]:
                time.sleep(0.001)
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
            connection.request("GET", f"/v2/models/{name}/ready")
            assert connection.getresponse().status == 200
            taken.append(time.perf_counter() - start)
            connection.close()
            time.sleep(0.3)
    return {"model": model, "seconds": summary(taken), "asked": 5.0}


def main(model: str = "breast-lesion-rcnn") -> None:
    """`model`: the zoo model behind the server that is overloaded, and whose worker is killed."""
    with tempfile.TemporaryDirectory() as name:
        light = write_graph(Path(name) / "light.onnx", "segment")
        record(
            "server",
            overhead_at_512x512=overhead(light),
            requests=beside_kserve(light),
            load=overload(model),
            killed_worker=recovery(model),
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
